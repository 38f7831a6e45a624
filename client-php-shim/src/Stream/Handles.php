<?php

declare(strict_types=1);

namespace Cistern\Stream;

use Cistern\Client;
use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\InvalidRequest;
use Cistern\Exception\NotFound;
use Cistern\PutOptions;

/**
 * What the modes of fopen() mean for a file in the store, and what touch() and chmod() do.
 *
 * @internal
 */
final class Handles
{
    /**
     * @param string $mode as fopen() has it: one of r w a x c, with + and the flags b t e n
     *
     * @throws CisternException
     */
    public static function open(Client $client, string $key, string $mode): Handle
    {
        $kind = $mode[0] ?? '';
        $both = str_contains($mode, '+');
        if ($kind === 'r' && !$both) {
            $unsaved = WriteHandle::unsaved($client, $key);
            if ($unsaved !== null) {
                return new SpoolHandle($unsaved->copy(), $unsaved->stat());
            }
            $known = $client->known($key);
            $stream = $client->open($key);

            // The tracker says nothing of a mode when it sends bytes.
            $entry = $known?->etag === $stream->entry->etag ? $known : $stream->entry;

            return new ReadHandle($stream, FileStat::of($entry));
        }
        Shutdown::watch();

        return match ($kind) {
            'r' => WriteHandle::replacing($client, $key, null, true),
            'c' => WriteHandle::replacing($client, $key, false, $both),
            'w' => WriteHandle::overwriting($client, $key, $both),
            'x' => WriteHandle::creating($client, $key, $both),
            'a' => WriteHandle::appending($client, $key, $both),
            default => throw new InvalidRequest("The mode '$mode' is none of fopen()'s."),
        };
    }

    /**
     * @param int|null $time seconds since 1970; null: now
     *
     * @throws CisternException
     */
    public static function touch(Client $client, string $key, ?int $time): void
    {
        $mtime = new \DateTimeImmutable($time === null ? 'now' : "@$time");
        $entry = $client->stat($key);
        if ($entry === null) {
            try {
                $client->put($key, '', new PutOptions(mtime: $mtime, ifNoneMatch: true));

                return;
            } catch (Conflict $e) {
                // Somebody else made it meanwhile.
                $entry = $client->stat($key, true) ?? throw $e;
            }
        }
        if ($entry->isFile()) {
            $client->patch($key, null, $mtime);
        }
    }

    /**
     * Keeps permission bits with a file.
     *
     * @param int|null $mode null: only looks whether there is something
     *
     * @throws CisternException
     */
    public static function chmod(Client $client, string $key, ?int $mode): void
    {
        $entry = $client->stat($key) ?? throw new NotFound("There is no file '$key'.");
        if ($mode !== null && $entry->isFile() && $entry->mode() !== ($mode & 0o7777)) {
            $client->patch($key, meta: ['mode' => \sprintf('%04o', $mode & 0o7777)] + $entry->meta);
        }
    }
}
