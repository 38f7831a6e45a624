<?php

declare(strict_types=1);

namespace Cistern\Moving;

use Cistern\Client;
use Cistern\Entry;
use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\PutOptions;
use Cistern\Transport\Request;

/**
 * Sends local files into the store for CopyIn: as they are, or not at all if they change meanwhile.
 */
final class FileSender
{
    /** A file that was changed so many seconds ago may be changed again within the second that its time tells. */
    private const RECENT = 2;

    /**
     * @param bool $mirror whether a file goes to its own key, in the place of what is there
     */
    public function __construct(
        private readonly Client $client,
        private readonly LocalTree $tree,
        private readonly Transfers $transfers,
        private readonly bool $mirror,
    ) {
    }

    /** The request for a file that fits into memory; null if it cannot be read, or changed meanwhile: the report says so. */
    public function request(string $key, LocalFile $file, ?Entry $entry, Report $report): ?Request
    {
        $bytes = @file_get_contents($file->local);
        if (!$this->mayBeSent($file, $bytes === false ? -1 : \strlen($bytes), $report)) {
            return null;
        }
        [$name, $conditions] = $this->target($key, $entry);

        return $this->transfers->put($name, (string) $bytes, $file->mtime, self::meta($file), $conditions);
    }

    /**
     * Sends a file from the disk.
     *
     * @return CisternException|bool false: it is not to be sent, and the report says so
     */
    public function sendLarge(string $key, LocalFile $file, ?Entry $entry, Report $report): CisternException|bool
    {
        if (!$this->mayBeSent($file, $file->size, $report)) {
            return false;
        }
        [$name, $conditions] = $this->target($key, $entry);
        $options = new PutOptions(
            mtime: new \DateTimeImmutable("@$file->mtime"),
            meta: self::meta($file),
            ifNoneMatch: isset($conditions['If-None-Match']),
            ifMatch: $conditions['If-Match'] ?? null,
        );
        try {
            $stored = $this->client->putFile($name, $file->local, $options);
        } catch (CisternException $e) {
            return $e;
        }
        // It may have been written to while it was sent.
        if (!$file->isUnchanged()) {
            $this->client->delete($name, $stored->etag);

            return new Conflict('It was changed while it was copied.');
        }

        return true;
    }

    /**
     * Where a file goes at first, and under which conditions.
     *
     * @return array{string, array<string, string>}
     */
    private function target(string $key, ?Entry $entry): array
    {
        if (!$this->mirror) {
            return [OldFiles::incoming($key), []];
        }

        return [$key, $entry === null ? ['If-None-Match' => '*'] : ['If-Match' => $entry->etag]];
    }

    private function mayBeSent(LocalFile $file, int $read, Report $report): bool
    {
        $why = $this->tree->why($file);
        if ($why !== null) {
            $report->skip($file->path, $why);
        } elseif ($read < 0 && file_exists($file->local)) {
            $report->fail($file->path, 'It cannot be read.');
        } elseif (!$file->isUnchanged() || $read !== $file->size) {
            ++$report->left;
        } else {
            return true;
        }

        return false;
    }

    /**
     * What the store keeps about a file beside its time.
     *
     * @return array<string, string>
     */
    public static function meta(LocalFile $file): array
    {
        $meta = ['mode' => \sprintf('%04o', $file->mode)];

        return $file->mtime >= time() - self::RECENT ? $meta + ['recent' => '1'] : $meta;
    }
}
