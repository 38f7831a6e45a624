<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\InvalidRequest;
use Cistern\Exception\NotFound;
use Cistern\Exception\ReadOnlyStore;
use Cistern\Exception\Unauthorized;
use Cistern\Exception\Unavailable;
use Cistern\Transport\Body;
use Cistern\Transport\CurlTransport;
use Cistern\Transport\Request;
use Cistern\Transport\Response;
use Cistern\Transport\Transport;
use Cistern\Transport\TransportFailure;

/**
 * Files and directories of one domain, over the HTTP API of its trackers (docs/http-api.md).
 *
 * Keys are paths: 'a/b/c.jpg', without slashes at their ends; '' is the root directory. Every method throws a
 * CisternException if it fails: Unavailable for an outage, never an answer that means 'does not exist'.
 */
final class Client
{
    /** Keys that a tracker looks up in one request. */
    private const MANY = 1000;

    private readonly Transport $transport;
    private readonly Trackers $trackers;
    private readonly Uploader $uploader;
    private readonly StatCache $known;
    /** What stands before each key, with its slash. */
    private readonly string $prefix;

    /**
     * @param Transport|null $transport null: by ext-curl
     */
    public function __construct(public readonly ClientOptions $options, ?Transport $transport = null)
    {
        $this->transport = $transport ?? new CurlTransport($options->connectTimeout, $options->tlsCaFile);
        $this->trackers = new Trackers($options, $this->transport);
        $this->uploader = new Uploader($options, $this->transport, $this->trackers);
        $this->known = new StatCache($options->statSeconds);
        $this->prefix = $options->prefix === '' ? '' : $options->prefix . '/';
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
        $found = $unknown = [];
        foreach ($keys as $key) {
            // The root is there by definition, also where nothing was stored yet.
            $entry = $key === '' ? new Entry('', true, 0.0) : ($fresh ? false : $this->known->find($key));
            $found[$key] = $entry === false ? null : $entry;
            if ($entry === false) {
                $unknown[] = $key;
            }
        }
        foreach (array_chunk($unknown, self::MANY) as $chunk) {
            $asked = array_map($this->absolute(...), $chunk);
            $entries = $this->json('POST', 'stat', ['keys' => $asked])['entries'] ?? null;
            if (!\is_array($entries) || \count($entries) !== \count($chunk)) {
                throw new Unavailable('The tracker did not answer for every key. Do client and tracker fit?');
            }
            foreach ($chunk as $i => $key) {
                $found[$key] = $entries[$i] === null ? null : $this->entry($entries[$i]);
                $this->known->keep($key, $found[$key]);
            }
        }

        return $found;
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
        $path = $this->writable($key);
        $body = $this->body($source, $spool);
        try {
            // Large bodies are not sent for nothing; the commit looks again.
            if ($body->size >= $this->options->directBytes && ($options->ifNoneMatch || $options->ifMatch !== null)) {
                $this->checkConditions($key, $options);
            }
            $entry = $this->entry($this->uploader->upload($path, $body, $options, $this->authorization()));
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
        $target = $this->target('files/' . Key::encode($this->absolute($key)));
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
     * @throws NotFound|Conflict|CisternException
     */
    public function copy(string $from, string $to, bool $overwrite = true): Entry
    {
        return $this->relocate('copy', $from, $to, $overwrite);
    }

    /**
     * Moves a file or a directory (with all below, at once). A directory never replaces anything.
     *
     * @throws NotFound|Conflict|CisternException
     */
    public function move(string $from, string $to, bool $overwrite = true): Entry
    {
        return $this->relocate('move', $from, $to, $overwrite);
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
        $path = $this->writable($key);
        $this->known->forget($key);
        $headers = ['Idempotency-Key' => self::idempotencyKey()] + ($ifMatch === null ? [] : ['If-Match' => $ifMatch]);
        $this->send('DELETE', 'files/' . Key::encode($path), null, $headers);
        $this->known->keep($key, null);
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
        if ($key === '') {
            return $exclusive ? throw new Conflict('The root directory exists.') : new Entry('', true, 0.0);
        }
        $path = $this->writable($key);
        $this->known->forget($key);
        $headers = ['Idempotency-Key' => self::idempotencyKey()] + ($exclusive ? ['If-None-Match' => '*'] : []);
        // The client's own root is made by whoever needs it first.
        $parents = $parents || !str_contains($key, '/');
        $target = 'directories/' . Key::encode($path) . ($parents ? '' : '?parents=false');
        $entry = $this->entry($this->send('PUT', $target, null, $headers)->json());
        $this->known->made($entry);

        return $entry;
    }

    /**
     * Removes a directory that is empty, or with all below as one operation. The root is only emptied.
     *
     * @throws NotFound|Conflict|CisternException
     */
    public function removeDirectory(string $key, bool $recursive = false): void
    {
        $path = $key === '' ? $this->options->prefix : $this->writable($key);
        $this->checkWritable();
        if ($key === '' && !$recursive) {
            throw new Conflict('The root directory cannot be removed, only emptied.');
        }
        $this->known->forgetAll();
        $target = 'directories/' . Key::encode($path) . ($recursive ? '?recursive=true' : '');
        try {
            $this->send('DELETE', $target, null, ['Idempotency-Key' => self::idempotencyKey()]);
        } catch (NotFound $e) {
            if ($key !== '') {
                throw $e;
            }
        }
        $this->known->keep($key, null);
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
        $path = $key === '' ? $this->options->prefix : $this->absolute($key);
        try {
            $first = $this->page($path, $recursive, null);
        } catch (NotFound $e) {
            $first = $key === '' ? [[], null] : throw $e;
        }

        return $this->pages($path, $recursive, $first);
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
        $path = $this->writable($key);
        $this->known->forget($key);
        $change = array_filter([
            'contentType' => $contentType,
            'mtime' => $mtime === null ? null : self::time($mtime),
            'meta' => $meta === null ? null : (object) $meta,
        ], static fn (mixed $value): bool => $value !== null);
        $entry = $this->entry($this->json('PATCH', 'files/' . Key::encode($path), (object) $change));
        $this->known->keep($key, $entry);

        return $entry;
    }

    /**
     * Asks every tracker whether it is ready. Throws nothing. `clockOffset` is how many seconds the tracker's clock is
     * ahead of this machine's, to about one second.
     *
     * @return list<array{tracker: string, ready: bool, seconds: float, why: string, clockOffset: float|null}>
     */
    public function health(): array
    {
        $health = [];
        foreach ($this->options->trackers as $tracker) {
            $started = microtime(true);
            try {
                $request = new Request('GET', $tracker, '/readyz', [], null, $this->options->connectTimeout * 2);
                $answer = $this->transport->exchange($request);
                $ready = $answer->status === 200;
                $why = $ready ? '' : Problems::exception($answer)->getMessage();
                $date = strtotime($answer->headers['date'] ?? '');
            } catch (TransportFailure $failure) {
                [$ready, $why, $date] = [false, $failure->getMessage(), false];
            }
            $now = microtime(true);
            $health[] = [
                'tracker' => $tracker,
                'ready' => $ready,
                'seconds' => $now - $started,
                'why' => $why,
                // The Date header has whole seconds, cut off.
                'clockOffset' => $date === false ? null : round($date + 0.5 - $now, 1),
            ];
        }

        return $health;
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
        $target = 'files/' . Key::encode($this->absolute($key)) . "?via=redirect&seconds=$seconds";

        return $this->send('GET', $target, null, [])->headers['location']
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

    /**
     * @internal a key by which a tracker knows a repetition
     */
    public static function idempotencyKey(): string
    {
        return bin2hex(random_bytes(16));
    }

    /**
     * @internal a time as the API takes it
     */
    public static function time(\DateTimeInterface $time): string
    {
        $utc = (new \DateTimeImmutable('@' . $time->getTimestamp()))->format('Y-m-d\TH:i:s');

        return $utc . '.' . $time->format('v') . 'Z';
    }

    private function relocate(string $verb, string $from, string $to, bool $overwrite): Entry
    {
        $json = ['from' => $this->writable($from), 'to' => $this->writable($to)];
        $source = $this->known->find($from);
        foreach ([$from, $to] as $key) {
            $this->known->forget($key);
        }
        $headers = ['Idempotency-Key' => self::idempotencyKey()] + ($overwrite ? [] : ['If-None-Match' => '*']);
        $entry = $this->entry($this->json('POST', $verb, $json, $headers));
        if ($entry->isDirectory) {
            $this->known->forgetAll();
        }
        $this->known->made($entry);
        if ($verb === 'move' && $from !== $to) {
            $this->known->keep($from, null);
        } elseif ($source !== false) {
            $this->known->keep($from, $source);
        }

        return $entry;
    }

    /**
     * @param array{list<Entry>, string|null} $page
     *
     * @return \Generator<int, Entry>
     */
    private function pages(string $path, bool $recursive, array $page): \Generator
    {
        while (true) {
            [$entries, $next] = $page;
            foreach ($entries as $entry) {
                yield $entry;
            }
            if ($next === null) {
                return;
            }
            $page = $this->page($path, $recursive, $next);
        }
    }

    /**
     * @return array{list<Entry>, string|null} and the cursor of the page that follows
     */
    private function page(string $path, bool $recursive, ?string $cursor): array
    {
        $query = http_build_query(($recursive ? ['recursive' => 'true'] : []) + ['cursor' => $cursor]);
        $json = $this->json('GET', 'directories/' . Key::encode($path) . ($query === '' ? '' : "?$query"));
        if (!\is_array($json['entries'] ?? null)) {
            throw new Unavailable('The tracker sent no entries. Do client and tracker fit?');
        }
        $entries = array_map($this->entry(...), array_values($json['entries']));
        foreach ($entries as $entry) {
            $this->known->keep($entry->key, $entry);
        }

        return [$entries, \is_string($json['next'] ?? null) ? $json['next'] : null];
    }

    private function checkConditions(string $key, PutOptions $options): void
    {
        $there = $this->stat($key, true);
        if ($options->ifNoneMatch && $there !== null || $options->ifMatch !== null && $there === null) {
            $what = $there === null ? 'does not exist' : 'exists';
            throw new Conflict("'$key' $what.", 'precondition-failed', 412);
        }
    }

    /**
     * @param string|resource $source
     *
     * @param-out Spool|null $spool must live as long as the body
     */
    private function body(mixed $source, ?Spool &$spool = null): Body
    {
        $spool = null;
        if (\is_string($source)) {
            return Body::ofString($source);
        }
        if (!\is_resource($source)) {
            throw new InvalidRequest('What is to be stored must be a string or an open stream.');
        }
        if (stream_get_meta_data($source)['seekable']) {
            return Body::ofStream($source);
        }
        // What cannot be rewound could not be sent again.
        $spool = new Spool($this->options->spoolMemory, $this->options->spoolDirectory);
        while (!feof($source)) {
            $bytes = fread($source, 65536);
            if ($bytes === false) {
                throw new InvalidRequest('The stream that is to be stored cannot be read.');
            }
            $spool->write($bytes);
        }

        return Body::ofStream($spool->contents());
    }

    /**
     * @param non-empty-string $method
     * @param array<mixed>|object|null $json
     * @param array<string, string> $headers
     *
     * @return array<mixed>
     */
    private function json(string $method, string $path, array|object|null $json = null, array $headers = []): array
    {
        if ($json !== null) {
            $headers['Content-Type'] = 'application/json';
        }

        return $this->send($method, $path, $json === null ? null : Body::ofJson($json), $headers)->json()
            ?? throw new Unavailable('The tracker sent no JSON. Is there something else between?');
    }

    /**
     * @param non-empty-string $method
     * @param array<string, string> $headers
     */
    private function send(string $method, string $path, ?Body $body, array $headers): Response
    {
        $this->trackers->deadline->beginOperation();

        return $this->trackers->call(
            new Request($method, '', $this->target($path), $this->authorization() + $headers, $body),
        );
    }

    private function target(string $path): string
    {
        return '/v1/domains/' . rawurlencode($this->options->domain) . "/$path";
    }

    /**
     * @return array<string, string>
     */
    private function authorization(): array
    {
        return ['Authorization' => 'Bearer ' . $this->options->token];
    }

    private function entry(mixed $json): Entry
    {
        return Entry::fromJson($json, $this->prefix);
    }

    /**
     * A key as trackers know it.
     */
    private function absolute(string $key): string
    {
        $absolute = $this->prefix . $key;
        Key::check($key === '' ? $key : $absolute);

        return $absolute;
    }

    /**
     * The same for a key that is to be written.
     */
    private function writable(string $key): string
    {
        $this->checkWritable();

        return $this->absolute($key);
    }

    private function checkWritable(): void
    {
        if ($this->options->readOnly) {
            throw new ReadOnlyStore('This client is set to be read-only (ClientOptions::$readOnly).');
        }
    }
}
