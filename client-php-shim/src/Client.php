<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\NotFound;
use Cistern\Exception\Unavailable;

/**
 * Files and directories of one domain, over the HTTP API of its trackers (docs/http-api.md).
 *
 * Keys are paths: 'a/b/c.jpg', without slashes at their ends; '' is the root directory. Every method throws a
 * CisternException if it fails: Unavailable for an outage, never an answer that means 'does not exist'.
 */
final class Client
{
    public function __construct(public readonly ClientOptions $options)
    {
    }

    /**
     * What a key names; null if it names nothing. Answered from memory for up to ClientOptions::$statSeconds (an
     * absence for at most a second), but own writes are seen at once.
     *
     * @param bool $fresh ask the tracker in any case
     */
    public function stat(string $key, bool $fresh = false): ?Entry
    {
        throw new \LogicException('to be filled');
    }

    /**
     * What many keys name, in one request for each thousand that are not in memory.
     *
     * @param array<string> $keys
     *
     * @return array<string, Entry|null> by key
     */
    public function statMany(array $keys, bool $fresh = false): array
    {
        throw new \LogicException('to be filled');
    }

    /**
     * Stores a file, whole or not at all, making the directories above it.
     *
     * @param string|resource $source the bytes, or an open stream, which is read from where it stands to its end
     *
     * @throws Conflict if a condition does not hold, or the key or a part of it is something else
     */
    public function put(string $key, mixed $source, PutOptions $options = new PutOptions()): Entry
    {
        throw new \LogicException('to be filled');
    }

    /**
     * Stores a local file. See put().
     */
    public function putFile(string $key, string $localPath, PutOptions $options = new PutOptions()): Entry
    {
        throw new \LogicException('to be filled');
    }

    /**
     * Opens a file for reading; its head has been read when this returns. See ReadStream.
     *
     * @throws NotFound
     */
    public function open(string $key): ReadStream
    {
        throw new \LogicException('to be filled');
    }

    /**
     * A whole file, verified by its digest.
     *
     * @throws NotFound
     */
    public function read(string $key): string
    {
        throw new \LogicException('to be filled');
    }

    /**
     * Copies a file or a directory within the store. No bytes are moved.
     *
     * @throws NotFound|Conflict
     */
    public function copy(string $from, string $to, bool $overwrite = true): Entry
    {
        throw new \LogicException('to be filled');
    }

    /**
     * Moves a file or a directory (with all below, at once). A directory never replaces anything.
     *
     * @throws NotFound|Conflict
     */
    public function move(string $from, string $to, bool $overwrite = true): Entry
    {
        throw new \LogicException('to be filled');
    }

    /**
     * Deletes a file.
     *
     * @param string|null $ifMatch only this version (Entry::$etag), else Conflict
     *
     * @throws NotFound|Conflict
     */
    public function delete(string $key, ?string $ifMatch = null): void
    {
        throw new \LogicException('to be filled');
    }

    /**
     * Makes a directory.
     *
     * @param bool $parents   with those above it; else NotFound if its parent is missing
     * @param bool $exclusive Conflict if it is there; else that is fine
     *
     * @throws NotFound|Conflict
     */
    public function makeDirectory(string $key, bool $parents = true, bool $exclusive = false): Entry
    {
        throw new \LogicException('to be filled');
    }

    /**
     * Removes a directory that is empty, or with all below as one operation. The root is only emptied.
     *
     * @throws NotFound|Conflict
     */
    public function removeDirectory(string $key, bool $recursive = false): void
    {
        throw new \LogicException('to be filled');
    }

    /**
     * What a directory holds, by name in byte order; with $recursive all below it, each directory before its content.
     * Pages of a thousand are asked for as they are needed.
     *
     * @return \Generator<int, Entry>
     *
     * @throws NotFound|Conflict already when the generator is started
     */
    public function list(string $key, bool $recursive = false): \Generator
    {
        yield from [];
        throw new \LogicException('to be filled');
    }

    /**
     * Changes what is kept about a file; null leaves a value as it is.
     *
     * @param array<string, mixed>|null $meta replaces the whole object
     *
     * @throws NotFound
     */
    public function patch(
        string $key,
        ?string $contentType = null,
        ?\DateTimeInterface $mtime = null,
        ?array $meta = null,
    ): Entry {
        throw new \LogicException('to be filled');
    }

    /**
     * Asks every tracker whether it is ready. Throws nothing.
     *
     * @return list<array{tracker: string, ready: bool, seconds: float, why: string, clockOffset: float|null}>
     *     `clockOffset`: how many seconds the tracker's clock is ahead of this machine's, to about one second
     */
    public function health(): array
    {
        throw new \LogicException('to be filled');
    }

    /**
     * A URL of a storage node that gives the file to whoever has it, for a time.
     *
     * @param int $seconds at most so long; the tracker's CISTERN_TICKET_SECONDS is another bound
     *
     * @throws NotFound
     * @throws CisternException Unauthorized, if the token does not allow redirects
     */
    public function temporaryUrl(string $key, int $seconds): string
    {
        throw new \LogicException('to be filled');
    }

    /**
     * How many HTTP requests this client has made.
     */
    public function calls(): int
    {
        throw new \LogicException('to be filled');
    }

    /**
     * For workers that serve many web requests in one process: a new one begins. Forgets look-ups and time that was
     * lost to trackers.
     *
     * @throws Unavailable never; said because all else may
     */
    public function beginRequest(): void
    {
        throw new \LogicException('to be filled');
    }
}
