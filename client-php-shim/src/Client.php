<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\InvalidRequest;
use Cistern\Exception\NotFound;
use Cistern\Exception\Unauthorized;
use Cistern\Exception\Unavailable;
use Cistern\Transport\CurlTransport;
use Cistern\Transport\Transport;

/**
 * Files and directories of one domain, over the HTTP API of its trackers (docs/http-api.md).
 *
 * Keys are paths: 'a/b/c.jpg', without slashes at their ends; '' is the root directory. Every method throws a
 * CisternException if it fails: Unavailable for an outage, never an answer that means 'does not exist'.
 */
final class Client
{
    private readonly Transport $transport;
    private readonly Trackers $trackers;
    private readonly Uploader $uploader;
    private readonly Api $api;
    private readonly Names $names;
    private readonly Directories $directories;
    private readonly StatCache $known;

    /**
     * @param Transport|null $transport null: by ext-curl
     */
    public function __construct(public readonly ClientOptions $options, ?Transport $transport = null)
    {
        $this->transport = $transport ?? new CurlTransport($options->connectTimeout, $options->tlsCaFile);
        $this->trackers = new Trackers($options, $this->transport);
        $this->uploader = new Uploader($options, $this->transport, $this->trackers);
        $this->known = new StatCache($options->statSeconds);
        $this->api = new Api($options, $this->trackers);
        $this->names = new Names($this->api, $this->known);
        $this->directories = new Directories($this->api, $this->known);
    }

    /**
     * What a key names; null if it names nothing. Answered from memory for up to ClientOptions::$statSeconds (an
     * absence for at most a second), but own writes are seen at once.
     *
     * @param bool $fresh ask the tracker in any case
     *
     * @throws CisternException
     */
    public function stat(string $key, bool $fresh = false): ?Entry
    {
        return $this->statMany([$key], $fresh)[$key];
    }

    /**
     * What many keys name, in one request for each thousand that are not in memory.
     *
     * @param array<string> $keys
     *
     *
     * @throws CisternException
     * @return array<string, Entry|null> by key
     */
    public function statMany(array $keys, bool $fresh = false): array
    {
        $this->trackers->deadline->beginOperation();

        return $this->names->look($keys, $fresh);
    }

    /**
     * Stores a file, whole or not at all, making the directories above it.
     *
     * @param string|resource $source the bytes, or an open stream, which is read from where it stands to its end
     *
     * @throws Conflict if a condition does not hold, or the key or a part of it is something else
     * @throws CisternException
     */
    public function put(string $key, mixed $source, PutOptions $options = new PutOptions()): Entry
    {
        $path = $this->api->writable($key);
        $source = new Source($source, $this->options);
        try {
            // Large bodies are not sent for nothing; the commit looks again.
            $conditional = $options->ifNoneMatch || $options->ifMatch !== null;
            if ($conditional && $source->body->size >= $this->options->directBytes) {
                $this->names->checkConditions($key, $options);
            }
            $json = $this->uploader->upload($path, $source->body, $options, $this->api->authorization());
            $entry = $this->api->entry($json);
        } catch (CisternException $e) {
            $this->known->forget($key);
            throw $e;
        }
        $this->known->made($entry);

        return $entry;
    }

    /**
     * Stores a local file. See put().
     *
     * @throws Conflict|CisternException
     */
    public function putFile(string $key, string $localPath, PutOptions $options = new PutOptions()): Entry
    {
        $file = is_dir($localPath) ? false : @fopen($localPath, 'rb');
        if ($file === false) {
            throw new InvalidRequest("The local file '$localPath' cannot be read.");
        }
        try {
            return $this->put($key, $file, $options);
        } finally {
            fclose($file);
        }
    }

    /**
     * Opens a file for reading; its head has been read when this returns. See ReadStream.
     *
     * @param bool $whole it will be read from the beginning to its end, so that one request is enough
     *
     * @throws NotFound|CisternException
     */
    public function open(string $key, bool $whole = false): ReadStream
    {
        $this->trackers->deadline->beginOperation();
        $known = $this->known->find($key);
        $small = $known instanceof Entry && $known->size <= 262144;
        $target = $this->api->target('files/' . Key::encode($this->api->absolute($key)));
        try {
            return new ReadStream($this->trackers, $target, $this->options->token, $key, $whole || $small);
        } catch (NotFound | Conflict $e) {
            $this->known->forget($key);
            throw $e;
        }
    }

    /**
     * A whole file, verified by its digest.
     *
     * @throws NotFound|CisternException
     */
    public function read(string $key): string
    {
        $stream = $this->open($key, true);
        $bytes = '';
        while (!$stream->eof()) {
            $bytes .= $stream->read(1048576);
        }
        $stream->close();

        return $bytes;
    }

    /**
     * Copies a file or a directory within the store. No bytes are moved.
     *
     * @param bool $parents make the directories above $to; else NotFound ('directory-not-found') if they are missing
     *
     * @throws NotFound|Conflict|CisternException
     */
    public function copy(string $from, string $to, bool $overwrite = true, bool $parents = true): Entry
    {
        return $this->names->relocate('copy', $from, $to, $overwrite, $parents);
    }

    /**
     * Moves a file or a directory (with all below, at once). A directory never replaces anything.
     *
     * @param bool $parents as in copy()
     *
     * @throws NotFound|Conflict|CisternException
     */
    public function move(string $from, string $to, bool $overwrite = true, bool $parents = true): Entry
    {
        return $this->names->relocate('move', $from, $to, $overwrite, $parents);
    }

    /**
     * Deletes a file.
     *
     * @param string|null $ifMatch only this version (Entry::$etag), else Conflict
     *
     * @throws NotFound|Conflict|CisternException
     */
    public function delete(string $key, ?string $ifMatch = null): void
    {
        $this->names->delete($key, $ifMatch);
    }

    /**
     * Makes a directory.
     *
     * @param bool $parents with those above it; else NotFound if its parent is missing
     * @param bool $exclusive Conflict if it is there; else that is fine
     *
     * @throws NotFound|Conflict|CisternException
     */
    public function makeDirectory(string $key, bool $parents = true, bool $exclusive = false): Entry
    {
        return $this->directories->make($key, $parents, $exclusive);
    }

    /**
     * Removes a directory that is empty, or with all below as one operation. The root is only emptied.
     *
     * @throws NotFound|Conflict|CisternException
     */
    public function removeDirectory(string $key, bool $recursive = false): void
    {
        $this->directories->remove($key, $recursive);
    }

    /**
     * Removes directories with all below, as one operation; those that are missing are fine.
     *
     * @param list<string> $keys at most 100
     *
     * @throws Conflict|CisternException
     */
    public function removeDirectories(array $keys): void
    {
        $this->directories->removeMany($keys);
    }

    /**
     * What a directory holds, by name in byte order; with $recursive all below it, each directory before its content.
     * Pages of a thousand are asked for as they are needed, the first one at once.
     *
     *
     * @throws NotFound|Conflict|CisternException
     * @return \Generator<int, Entry>
     */
    public function list(string $key, bool $recursive = false): \Generator
    {
        return $this->directories->list($key, $recursive);
    }

    /**
     * Changes what is kept about a file; null leaves a value as it is.
     *
     * @param array<string, mixed>|null $meta replaces the whole object
     *
     * @throws NotFound|CisternException
     */
    public function patch(
        string $key,
        ?string $contentType = null,
        ?\DateTimeInterface $mtime = null,
        ?array $meta = null,
    ): Entry {
        return $this->names->patch($key, $contentType, $mtime, $meta);
    }

    /**
     * Asks every tracker whether it is ready. Throws nothing. `clockOffset` is how many seconds the tracker's clock is
     * ahead of this machine's, to about one second.
     *
     * @return list<array{tracker: string, ready: bool, seconds: float, why: string, clockOffset: float|null}>
     */
    public function health(): array
    {
        $timeout = $this->options->connectTimeout * 2;
        $ask = fn (string $tracker): array => Health::of($tracker, $this->transport, $timeout);

        return array_map($ask, $this->options->trackers);
    }

    /**
     * A URL of a storage node that gives the file to whoever has it, for a time.
     *
     * @param int $seconds at most so long; the tracker's CISTERN_TICKET_SECONDS is another bound
     *
     * @throws NotFound|CisternException
     * @throws Unauthorized if the token does not allow redirects
     */
    public function temporaryUrl(string $key, int $seconds): string
    {
        $target = 'files/' . Key::encode($this->api->absolute($key)) . "?via=redirect&seconds=$seconds";

        return $this->api->send('GET', $target, null, [])->headers['location']
            ?? throw new Unavailable('The tracker sent no address. Do client and tracker fit?');
    }

    /**
     * How many HTTP requests this client has made.
     */
    public function calls(): int
    {
        return $this->transport->calls();
    }

    /**
     * For workers that serve many web requests in one process: a new one begins. Forgets look-ups, and the time that
     * was lost to trackers.
     */
    public function beginRequest(): void
    {
        $this->known->forgetAll();
        $this->trackers->deadline->beginRequest();
    }

    /**
     * @internal what is in memory of a key, without asking
     */
    public function known(string $key): ?Entry
    {
        $entry = $this->known->find($key);

        return $entry === false ? null : $entry;
    }

    /**
     * @internal tells ClientOptions::$log
     *
     * @param string $level as in PSR-3
     */
    public function log(string $level, string $message): void
    {
        $this->trackers->log($level, $message);
    }
}
