<?php

declare(strict_types=1);

namespace Cistern\Moving;

use Cistern\Client;
use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\NotFound;
use Cistern\PutOptions;

/**
 * Files that a site has, and that are not in the store yet, but only in the directory that it had before: read there
 * until they are copied. What the store has wins; the directory is never written to.
 *
 * A file comes into the store in three steps: its bytes under a reserved name, a look whether it was deleted meanwhile,
 * and a move of that name to its own. Who deletes a file writes its tombstone first, then removes the reserved name,
 * then the file. So in whatever order the steps of the two happen, also if either is killed between them, a deleted
 * file is not brought back (docs/decisions/tombstones.md).
 */
final class OldFiles
{
    public const INCOMING = Tombstones::RESERVED . '/incoming';

    public readonly Tombstones $tombstones;

    /**
     * @param array<string, Tree> $trees by the first segment of keys: 'public'
     */
    public function __construct(private readonly Client $client, private readonly array $trees)
    {
        $this->tombstones = new Tombstones($client);
    }

    /**
     * What a key that the store does not have names in the old directory; null if nothing, or if it is gone.
     *
     * @throws CisternException
     */
    public function find(string $key): ?LocalFile
    {
        [$tree, $path] = $this->locate($key);
        $file = $tree?->find($path);

        return $file === null || $this->tombstones->of([$key])[$key] ? null : $file;
    }

    /**
     * Which of the keys, none of which the store has, name something in the old directory.
     *
     * @param array<string> $keys
     *
     * @throws CisternException
     * @return array<string, LocalFile> by key
     */
    public function findMany(array $keys): array
    {
        $found = [];
        foreach ($keys as $key) {
            [$tree, $path] = $this->locate($key);
            $file = $tree?->find($path);
            if ($file !== null) {
                $found[$key] = $file;
            }
        }
        $gone = $found === [] ? [] : $this->tombstones->of(array_keys($found));

        return array_filter($found, static fn (string $key): bool => !$gone[$key], \ARRAY_FILTER_USE_KEY);
    }

    /**
     * What the old directory holds at a directory's key, by name; some of it may be in the store too.
     *
     * @throws CisternException
     * @return array<string, LocalFile>
     */
    public function children(string $key): array
    {
        [$tree, $path] = $this->locate($key);
        if ($tree === null || $path !== '' && $this->find($key)?->isDirectory !== true) {
            return [];
        }
        $keys = [];
        foreach ($tree->children($path) as $file) {
            $keys[] = "$key/" . basename($file->path);
        }
        $children = [];
        foreach (array_chunk($keys, 900) as $chunk) {
            foreach ($this->findMany($chunk) as $file) {
                $children[basename("/$file->path")] = $file;
            }
        }

        return $children;
    }

    /**
     * Brings a file into the store, if it is only in the old directory. What the store has by then stays.
     *
     * @throws CisternException
     * @return bool whether it was there to be brought
     */
    public function bringIn(string $key): bool
    {
        $file = $this->find($key);
        if ($file === null || $file->isDirectory) {
            return false;
        }
        $mtime = new \DateTimeImmutable("@$file->mtime");
        $options = new PutOptions(mtime: $mtime, meta: ['mode' => \sprintf('%04o', $file->mode)]);
        $this->client->putFile(self::incoming($key), $file->local, $options);
        if ($this->tombstones->of([$key])[$key]) {
            $this->dropIncoming($key);

            return false;
        }
        try {
            $this->client->move(self::incoming($key), $key, false);
        } catch (NotFound) {
            // Another one has moved it, or it was deleted.
        } catch (Conflict) {
            $this->dropIncoming($key);
        }

        return true;
    }

    /**
     * Brings in all files of a directory that are only in the old one, so that it can be moved or copied.
     *
     * @throws CisternException
     */
    public function bringInAll(string $key): void
    {
        foreach ($this->children($key) as $name => $file) {
            if ($file->isDirectory) {
                $this->client->makeDirectory("$key/$name");
                $this->bringInAll("$key/$name");
            } elseif ($this->client->stat("$key/$name", true) === null) {
                $this->bringIn("$key/$name");
            }
        }
    }

    /**
     * Something is going to be deleted or moved away: a file or a directory with all below. To be called before.
     *
     * @throws CisternException
     */
    public function forget(string $key): void
    {
        $this->tombstones->add($key);
        $this->dropIncoming($key);
    }

    /** Whether a key is of a scheme that has an old directory. */
    public function has(string $key): bool
    {
        return $this->locate($key)[0] !== null;
    }

    public static function incoming(string $key): string
    {
        return self::INCOMING . "/$key";
    }

    private function dropIncoming(string $key): void
    {
        try {
            $this->client->delete(self::incoming($key));
        } catch (NotFound) {
            // That is the intended result.
        } catch (Conflict) {
            $this->client->removeDirectories([self::incoming($key)]);
        }
    }

    /**
     * @return array{Tree|null, string} the directory of a key's scheme, and the path in it
     */
    private function locate(string $key): array
    {
        [$scheme, $path] = explode('/', $key, 2) + [1 => ''];

        return [$this->trees[$scheme] ?? null, $path];
    }
}
