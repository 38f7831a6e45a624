<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\Corrupt;
use Cistern\Exception\InvalidRequest;
use Cistern\Exception\NotFound;
use Cistern\Exception\Unavailable;
use Cistern\Transport\Download;
use Cistern\Transport\Request;
use Cistern\Transport\TransportFailure;

/**
 * An open file: constant memory, and bytes come as they are read. If a connection breaks, reading goes on at that byte
 * elsewhere. What is read from the beginning to the end is checked by its digest; the end of a broken transfer is an
 * exception, never an early end of the file.
 */
final class ReadStream
{
    /** What is asked for at first, and after each seek: who wants only a file's head gets little more. */
    private const WINDOW = 262144;
    /** A short way ahead is read rather than asked for. */
    private const SKIP = 65536;

    /** What was opened; its `class`, `meta` and `fid` are not known here. */
    public readonly Entry $entry;
    private int $position = 0;
    private string $buffer = '';
    /** Where the buffer begins in the file. */
    private int $bufferAt = 0;
    private ?Download $download = null;
    private string $tracker = '';
    /** Where the download stands in the file, and where it will end. */
    private int $downloadAt = 0;
    private int $downloadEnd = 0;
    /** Whether only a window is to be asked for next. */
    private bool $window;
    private int $breaks = 0;
    private ?\HashContext $hash;
    private int $hashed = 0;
    private ?CisternException $failed = null;

    /**
     * @internal made by Client::open()
     *
     * @param bool $whole all of it will be read
     *
     * @throws CisternException
     */
    public function __construct(
        private readonly Trackers $trackers,
        private readonly string $target,
        private readonly string $token,
        string $key,
        bool $whole,
    ) {
        $this->hash = hash_init('sha256');
        $this->window = !$whole;
        $this->entry = $this->begin($key);
    }

    /**
     * Up to $length bytes, '' only at the end.
     *
     * @throws CisternException also if the file was replaced (Conflict) or deleted (NotFound) meanwhile
     */
    public function read(int $length): string
    {
        if ($this->failed !== null) {
            throw $this->failed;
        }
        if ($length < 1 || $this->eof()) {
            return '';
        }
        $ahead = $this->position - $this->bufferAt;
        if ($ahead < 0 || $ahead >= \strlen($this->buffer)) {
            $this->fill();
            $ahead = $this->position - $this->bufferAt;
        }
        $bytes = substr($this->buffer, $ahead, $length);
        $this->position += \strlen($bytes);

        return $bytes;
    }

    public function eof(): bool
    {
        return $this->position >= $this->entry->size;
    }

    public function tell(): int
    {
        return $this->position;
    }

    /**
     * @param int $offset from the beginning; beyond the end there is nothing to read
     *
     * @throws InvalidRequest
     */
    public function seek(int $offset): void
    {
        if ($offset < 0) {
            throw new InvalidRequest('A position in a file cannot be negative.');
        }
        $this->position = $offset;
    }

    /**
     * Gives the connection back. Nothing can be read after that.
     */
    public function close(): void
    {
        $this->drop();
        $this->buffer = '';
        $this->failed ??= new InvalidRequest('The file was closed.');
    }

    /**
     * The same as a PHP stream, for what wants one.
     *
     * @return resource
     */
    public function toResource(): mixed
    {
        return Stream\ReadResource::open($this);
    }

    /**
     * Makes the buffer hold what is at the position.
     *
     * @throws CisternException
     */
    private function fill(): void
    {
        $this->trackers->deadline->beginOperation();
        try {
            do {
                $this->aim();
                $bytes = $this->receive();
                $this->buffer = $bytes;
                $this->bufferAt = $this->downloadAt;
                $this->downloadAt += \strlen($bytes);
                $this->verify();
            } while ($this->position >= $this->downloadAt);
        } catch (CisternException $e) {
            $this->failed = $e;
            $this->drop();
            throw $e;
        }
    }

    /**
     * Makes the download stand at the position, or a short way before it.
     */
    private function aim(): void
    {
        $way = $this->position - $this->downloadAt;
        if ($this->download !== null && $this->download->isOurs() && $this->downloadAt < $this->downloadEnd) {
            if ($way >= 0 && $way <= self::SKIP) {
                return;
            }
        }
        // Who reads on after a window wants the rest; who seeks may want little.
        $this->drop();
        $this->window = $way !== 0;
        $this->ask($this->position);
    }

    /**
     * The next bytes of the download, at least one. If it breaks, another one is begun at that byte.
     */
    private function receive(): string
    {
        while (true) {
            $download = $this->download ?? $this->ask($this->downloadAt);
            try {
                $bytes = $download->read(self::WINDOW);
                if ($bytes !== '') {
                    $this->breaks = 0;

                    return substr($bytes, 0, $this->entry->size - $this->downloadAt);
                }
                throw new TransportFailure("$this->tracker sent too little of the file", false, true, 0.0);
            } catch (TransportFailure $failure) {
                $this->drop();
                $this->trackers->broke($this->tracker, $failure);
                if (++$this->breaks > 5 || $this->trackers->deadline->left() <= 0) {
                    throw new Unavailable("The transfer of '{$this->entry->key}' broke at byte $this->downloadAt of "
                        . "{$this->entry->size} and could not be taken up again: {$failure->getMessage()}.");
                }
            }
        }
    }

    /**
     * The first request, which says what the file is.
     */
    private function begin(string $key): Entry
    {
        try {
            $download = $this->request($this->window ? ['Range' => 'bytes=0-' . (self::WINDOW - 1)] : []);
        } catch (InvalidRequest $e) {
            // No range lies within an empty file (RFC 9110, 15.5.17).
            $download = $e->status === 416 ? $this->request([]) : throw $e;
        }
        $headers = $download->head->headers;
        $length = (int) ($headers['content-length'] ?? -1);
        $size = preg_match('~^bytes 0-\d+/(\d+)$~', $headers['content-range'] ?? '', $match) === 1
            ? (int) $match[1]
            : $length;
        $etag = $headers['etag'] ?? '';
        $mtime = strtotime($headers['last-modified'] ?? '');
        if ($length < 0 || $mtime === false) {
            throw new Unavailable("What $this->tracker sent is no file of Cistern's: something else is between.");
        }
        $this->downloadEnd = $length;
        $sha256 = preg_match('/^"([0-9a-f]{64})"$/', $etag, $match) === 1 ? $match[1] : '';
        if ($sha256 === '') {
            $this->hash = null;
        }

        return new Entry($key, false, (float) $mtime, $size, $etag, $sha256, $headers['content-type'] ?? '');
    }

    /**
     * Asks for the file from a byte on.
     */
    private function ask(int $from): Download
    {
        $to = $this->window ? min($from + self::WINDOW, $this->entry->size) : $this->entry->size;
        try {
            $download = $this->request(['Range' => "bytes=$from-" . ($to - 1), 'If-Match' => $this->entry->etag]);
        } catch (NotFound | Conflict $e) {
            $what = $e instanceof NotFound ? 'deleted' : 'replaced';
            $message = "'{$this->entry->key}' was $what while it was read; read it again.";
            throw $e instanceof NotFound
                ? new NotFound($message, $e->problem, $e->status, $e->requestId)
                : new Conflict($message, $e->problem, $e->status, $e->requestId);
        }
        $this->window = false;
        $this->downloadAt = $from;
        $this->downloadEnd = $to;

        return $download;
    }

    /**
     * @param array<string, string> $headers
     */
    private function request(array $headers): Download
    {
        $request = new Request('GET', '', $this->target, ['Authorization' => "Bearer $this->token"] + $headers);
        [$this->download, $this->tracker] = $this->trackers->open($request);

        return $this->download;
    }

    /**
     * Goes on with the digest if the buffer does, and compares it at the end of the file.
     *
     * @throws Corrupt
     */
    private function verify(): void
    {
        $skip = $this->hashed - $this->bufferAt;
        if ($this->hash === null || $skip < 0 || $skip >= \strlen($this->buffer)) {
            return;
        }
        hash_update($this->hash, $skip === 0 ? $this->buffer : substr($this->buffer, $skip));
        $this->hashed = $this->downloadAt;
        if ($this->hashed < $this->entry->size) {
            return;
        }
        $found = hash_final($this->hash);
        $this->hash = null;
        if ($found !== $this->entry->sha256) {
            throw new Corrupt("The bytes that came of '{$this->entry->key}' are not those that were stored: their "
                . 'digest does not fit. Read it again; see: cistern repair.');
        }
    }

    private function drop(): void
    {
        $this->download?->close();
        $this->download = null;
    }
}
