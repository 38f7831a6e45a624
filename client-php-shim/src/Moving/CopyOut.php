<?php

declare(strict_types=1);

namespace Cistern\Moving;

use Cistern\Client;
use Cistern\Entry;
use Cistern\Exception\CisternException;
use Cistern\Exception\Corrupt;
use Cistern\Exception\NotFound;
use Cistern\Transport\Response;

/**
 * A pass that makes a local directory what the store is: the way back. It can be ended and begun again at any time. A
 * file appears under its name when all of it is there and its digest is right.
 *
 * What the store does not have is removed only if the site deleted it, which its tombstone tells: it may be a file that
 * was never copied.
 */
final class CopyOut
{
    private const TOGETHER = 1048576;
    private const TEMPORARY = '.cistern-pull-';

    private readonly Transfers $transfers;
    private readonly Tombstones $tombstones;
    private Report $report;

    /**
     * @param (\Closure(int): void)|null $progress as in CopyIn
     */
    public function __construct(
        private readonly Client $client,
        private readonly LocalTree $tree,
        private readonly string $scheme,
        private readonly bool $dryRun = false,
        private readonly Limits $limits = new Limits(),
        private readonly ?\Closure $progress = null,
    ) {
        $this->transfers = new Transfers($client->options, $limits->parallel);
        $this->tombstones = new Tombstones($client);
        $this->report = new Report();
    }

    /**
     * @throws CisternException if nothing more can be done
     */
    public function run(): Report
    {
        $started = microtime(true);
        $this->report = new Report();
        $this->tree->checkThere();
        foreach (Batches::of(StoredFiles::of($this->client, $this->scheme)) as $batch) {
            $this->batch($batch);
        }
        $this->removeGone();
        $this->report->seconds = microtime(true) - $started;

        return $this->report;
    }

    /**
     * @param array<string, Entry> $entries by key
     */
    private function batch(array $entries): void
    {
        $wanted = [];
        foreach ($entries as $key => $entry) {
            $path = $this->path($key);
            $file = $this->tree->find($path);
            if ($file === null ? $this->isInTheWay($path) : $this->isSame($entry, $file)) {
                ++$this->report->there;
            } elseif ($this->dryRun || !$this->limits->take($entry->size)) {
                ++$this->report->left;
            } else {
                $wanted[] = $entry;
            }
        }
        $requests = function () use ($wanted): \Generator {
            foreach ($wanted as $entry) {
                if ($entry->size <= self::TOGETHER) {
                    yield [$entry, $this->transfers->get($entry->key)];
                }
            }
        };
        $done = function (Entry $entry, Response|CisternException $result): void {
            $this->attempt($entry, function () use ($entry, $result): void {
                $bytes = $result instanceof Response ? $result->body : throw $result;
                $this->write($entry, [$bytes]);
            });
        };
        $this->transfers->run($requests(), $done);
        foreach ($wanted as $entry) {
            if ($entry->size > self::TOGETHER) {
                $this->attempt($entry, fn () => $this->write($entry, $this->pieces($entry)));
            }
        }
        if ($this->progress !== null) {
            ($this->progress)(\count($entries));
        }
    }

    private function path(string $key): string
    {
        return substr($key, \strlen($this->scheme) + 1);
    }

    /** Whether a name is of what never is in the store, and so not to be touched here. */
    private function isInTheWay(string $path): bool
    {
        $there = file_exists($this->tree->local($path)) || is_link($this->tree->local($path));
        if ($there) {
            $this->report->skip($path, 'something that is never copied has this name');
        }

        return $there;
    }

    private function isSame(Entry $entry, LocalFile $file): bool
    {
        if ($file->isDirectory || $file->size !== $entry->size) {
            return false;
        }
        if ($file->mtime === (int) floor($entry->mtime)) {
            return true;
        }
        if (hash_file('sha256', $file->local) !== $entry->sha256) {
            return false;
        }

        return $this->dryRun || touch($file->local, (int) floor($entry->mtime));
    }

    /**
     * @param \Closure(): void $write
     */
    private function attempt(Entry $entry, \Closure $write): void
    {
        try {
            $write();
        } catch (NotFound) {
            // Deleted since it was listed; the next pass looks again.
            ++$this->report->left;
        } catch (CisternException $e) {
            $this->report->fail($this->path($entry->key), $e->getMessage());
        }
    }

    /**
     * @return \Generator<int, string>
     */
    private function pieces(Entry $entry): \Generator
    {
        $stream = $this->client->open($entry->key, true);
        try {
            while (($bytes = $stream->read(262144)) !== '') {
                yield $bytes;
            }
        } finally {
            $stream->close();
        }
    }

    /**
     * @param iterable<string> $pieces
     */
    private function write(Entry $entry, iterable $pieces): void
    {
        $local = $this->tree->local($this->path($entry->key));
        $directory = \dirname($local);
        if (!is_dir($directory) && !@mkdir($directory, 0o775, true) && !is_dir($directory)) {
            throw new CisternException("The directory $directory cannot be made.");
        }
        $temporary = $directory . '/' . self::TEMPORARY . bin2hex(random_bytes(6));
        $file = @fopen($temporary, 'xb');
        $hash = hash_init('sha256');
        try {
            foreach ($pieces as $bytes) {
                hash_update($hash, $bytes);
                if ($file === false || @fwrite($file, $bytes) !== \strlen($bytes)) {
                    throw new CisternException("$temporary cannot be written. Is the disk full, or read-only?");
                }
            }
            if ($file === false || !fsync($file)) {
                throw new CisternException("$temporary cannot be written. Is the disk full, or read-only?");
            }
            if (hash_final($hash) !== $entry->sha256) {
                throw new Corrupt('It was replaced meanwhile, or arrived with other bytes.');
            }
            chmod($temporary, $entry->mode() ?? 0o664);
            touch($temporary, (int) floor($entry->mtime));
            if (is_dir($local) || !rename($temporary, $local)) {
                throw new CisternException("$local cannot be replaced.");
            }
        } finally {
            if ($file !== false) {
                fclose($file);
            }
            @unlink($temporary);
        }
        ++$this->report->copied;
        $this->report->bytes += $entry->size;
    }

    /**
     * Removes what the site has deleted, and what a pass that was killed has left.
     */
    private function removeGone(): void
    {
        foreach ($this->left() as $path) {
            @unlink($this->tree->local($path));
        }
        foreach (Batches::of($this->local()) as $batch) {
            $this->removeOf($batch);
        }
    }

    /**
     * @return \Generator<string, LocalFile> by key
     */
    private function local(): \Generator
    {
        foreach ($this->tree->files() as $file) {
            yield "$this->scheme/$file->path" => $file;
        }
    }

    /**
     * @param array<string, LocalFile> $files by key
     */
    private function removeOf(array $files): void
    {
        $absent = array_keys(array_filter(
            $this->client->statMany(array_keys($files), true),
            static fn (?Entry $entry): bool => $entry === null,
        ));
        $gone = $absent === [] ? [] : $this->tombstones->of($absent);
        foreach (array_keys(array_filter($gone)) as $key) {
            if ($this->dryRun) {
                ++$this->report->left;
            } elseif (@unlink($files[$key]->local)) {
                ++$this->report->removed;
            } else {
                $this->report->fail($files[$key]->path, 'It cannot be removed.');
            }
        }
    }

    /**
     * @return list<string> paths of temporary files
     */
    private function left(): array
    {
        $left = [];
        $skipped = static function (string $path) use (&$left): void {
            if (str_starts_with(basename("/$path"), self::TEMPORARY)) {
                $left[] = $path;
            }
        };
        foreach ($this->tree->files($skipped) as $_) {
            // Only what is skipped is of interest.
        }

        return $left;
    }
}
