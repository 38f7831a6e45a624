<?php

declare(strict_types=1);

namespace Cistern\Stream;

use Cistern\Client;
use Cistern\Entry;
use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\NotFound;
use Cistern\PutOptions;
use Cistern\Spool;

/**
 * A file that was opened for writing. What it holds is collected in a spool and stored when it is closed. What it held
 * when it was opened is replaced only if it still holds that ('r+', 'c', 'x'); what is appended goes to the end of
 * whatever is there by then; 'w' replaces anything.
 *
 * @internal
 */
final class WriteHandle implements Handle
{
    /** How often an end is looked for, where others append at the same time. */
    private const APPENDS = 50;

    private readonly Spool $spool;
    private ?CisternException $failure = null;
    /** Whether closing has something to store. */
    private bool $dirty = false;
    /** Whether the spool holds the whole file; else only what is appended. */
    private bool $whole = true;
    /** Where in the spool begins what was appended. */
    private int $appendedAt = 0;
    private bool $truncated = false;
    /** As with local files, the end is seen by who reads there. */
    private bool $ended = false;
    /** @var \WeakMap<Client, array<string, \WeakReference<self>>>|null files that this process is writing, by key */
    private static ?\WeakMap $open = null;

    /**
     * @param Entry|null $base what was there
     */
    private function __construct(
        private readonly Client $client,
        private readonly string $key,
        private readonly bool $readable,
        private readonly bool $append,
        private readonly bool $replacesAll,
        private ?Entry $base,
    ) {
        $this->spool = new Spool($client->options->spoolMemory, $client->options->spoolDirectory);
        self::$open ??= new \WeakMap();
        self::$open[$client] = [$key => \WeakReference::create($this)] + (self::$open[$client] ?? []);
    }

    /**
     * The file that this process is writing under a key, and has not stored yet: whoever asks in this process sees what
     * was written, as of a local file. XMLWriter, for one, closes its file only when it is destroyed.
     */
    public static function unsaved(Client $client, string $key): ?self
    {
        $handle = (self::$open[$client] ?? [])[$key] ?? null;
        $handle = $handle?->get();

        return $handle?->dirty === true && $handle->whole && $handle->failure === null ? $handle : null;
    }

    /** Mode 'w': what was there does not matter, but for its permission bits, and that it must be no directory. */
    public static function overwriting(Client $client, string $key, bool $readable): self
    {
        $handle = new self($client, $key, $readable, false, true, self::file($client, $key));
        $handle->dirty = true;

        return $handle;
    }

    /**
     * Modes 'r+' and 'c'.
     *
     * @param bool|null $mustExist null: it must
     */
    public static function replacing(Client $client, string $key, ?bool $mustExist, bool $readable): self
    {
        try {
            return self::loaded($client, $key, $readable, false);
        } catch (NotFound $e) {
            if ($mustExist === null) {
                throw $e;
            }
        }
        $handle = new self($client, $key, $readable, false, false, null);
        $handle->dirty = true;

        return $handle;
    }

    /** Mode 'x': takes the name at once, so that of several who want it one gets it. */
    public static function creating(Client $client, string $key, bool $readable): self
    {
        $taken = $client->put($key, '', new PutOptions(ifNoneMatch: true));

        return new self($client, $key, $readable, false, false, $taken);
    }

    /** Mode 'a'. */
    public static function appending(Client $client, string $key, bool $readable): self
    {
        if ($readable) {
            try {
                return self::loaded($client, $key, true, true);
            } catch (NotFound) {
                // It is made below.
            }
        }
        $handle = new self($client, $key, $readable, true, false, self::file($client, $key));
        $handle->whole = $handle->base === null;
        $handle->dirty = $handle->base === null;

        return $handle;
    }

    public function read(int $length): string|false
    {
        if (!$this->readable) {
            return false;
        }
        $bytes = $this->spool->read($length);
        $this->ended = $bytes === '';

        return $bytes;
    }

    public function write(string $bytes): int
    {
        if ($this->failure !== null) {
            return 0;
        }
        try {
            if ($this->append) {
                $this->spool->seek(0, \SEEK_END);
            }
            $this->spool->write($bytes);
        } catch (CisternException $e) {
            // PHP's own functions do not all look: closing throws as well.
            $this->failure = $e;

            return 0;
        }
        $this->dirty = true;

        return \strlen($bytes);
    }

    public function eof(): bool
    {
        return $this->ended;
    }

    public function tell(): int
    {
        return $this->spool->tell();
    }

    public function seek(int $offset, int $whence): bool
    {
        $this->ended = false;
        if (!$this->whole) {
            // All that can be done here is to append, wherever one seeks before.
            return true;
        }

        return Positions::seekIn($this->spool, $offset, $whence);
    }

    public function truncate(int $size): bool
    {
        if (!$this->whole || !$this->spool->truncate($size)) {
            return false;
        }
        $this->dirty = true;
        $this->truncated = true;

        return true;
    }

    public function stat(): array
    {
        $size = $this->before() + $this->spool->size();
        $entry = new Entry($this->key, false, microtime(true), $size, meta: $this->base->meta ?? []);

        return FileStat::of($entry);
    }

    /** What was written so far, to be read. */
    public function copy(): Spool
    {
        $copy = new Spool($this->client->options->spoolMemory, $this->client->options->spoolDirectory);
        $at = $this->spool->tell();
        $this->spool->seek(0);
        $copy->drain($this->spool->read(...));
        $this->spool->seek($at);
        $copy->seek(0);

        return $copy;
    }

    public function close(): void
    {
        $this->forget();
        if ($this->failure !== null) {
            throw $this->failure;
        }
        if ($this->dirty) {
            $this->append && !$this->truncated ? $this->storeAppended() : $this->store($this->spool);
        }
    }

    public function abandon(string $uri): void
    {
        if ($this->dirty || $this->failure !== null) {
            $what = "'$uri' was not closed when the script ended: what was written was not stored.";
            $this->client->log('error', $what);
            trigger_error($what, \E_USER_WARNING);
        }
    }

    /** It is not being written any more. */
    private function forget(): void
    {
        $open = self::$open[$this->client] ?? [];
        if (self::$open !== null && ($open[$this->key] ?? null)?->get() === $this) {
            unset($open[$this->key]);
            self::$open[$this->client] = $open;
        }
    }

    private static function file(Client $client, string $key): ?Entry
    {
        $there = $client->stat($key);

        return $there === null || $there->isFile() ? $there : throw new Conflict("'$key' is a directory.");
    }

    private static function loaded(Client $client, string $key, bool $readable, bool $append): self
    {
        $handle = new self($client, $key, $readable, $append, false, null);
        $handle->base = self::load($client, $key, $handle->spool);
        $handle->appendedAt = $handle->base->size;
        $handle->spool->seek(0);

        return $handle;
    }

    /**
     * Writes what the file holds to a spool.
     *
     * @return Entry exactly the version that was written
     */
    private static function load(Client $client, string $key, Spool $spool): Entry
    {
        $stream = $client->open($key, true);
        $etag = $stream->entry->etag;
        $entry = $client->stat($key);
        $entry = $entry?->etag === $etag ? $entry : $client->stat($key, true);
        if ($entry?->etag !== $etag) {
            throw new Conflict("'$key' is being replaced just now.", 'precondition-failed', 412);
        }
        $spool->drain($stream->read(...));
        $stream->close();

        return $entry;
    }

    /** Bytes of the file before those in the spool. */
    private function before(): int
    {
        return $this->whole ? 0 : $this->base->size ?? 0;
    }

    private function store(Spool $spool): void
    {
        $base = $this->base;
        $this->base = $this->client->put($this->key, $spool->contents(), new PutOptions(
            contentType: $this->replacesAll ? null : $base?->contentType,
            meta: $base->meta ?? [],
            ifNoneMatch: $base === null && !$this->replacesAll,
            ifMatch: $this->replacesAll ? null : $base?->etag,
            class: $this->replacesAll ? null : $base?->class,
        ));
    }

    /** Puts what was written at the end of what is there now. */
    private function storeAppended(): void
    {
        for ($i = 1; true; ++$i) {
            try {
                $this->store($this->whole && $i === 1 ? $this->spool : $this->appended());

                return;
            } catch (Conflict $e) {
                if ($e->problem !== 'precondition-failed' || $i >= self::APPENDS) {
                    throw $e;
                }
                usleep(random_int(1000, 20000) * min($i, 10));
            }
        }
    }

    /** What is there now, and then what was written. */
    private function appended(): Spool
    {
        $whole = new Spool($this->client->options->spoolMemory, $this->client->options->spoolDirectory);
        try {
            $this->base = self::load($this->client, $this->key, $whole);
        } catch (NotFound) {
            $this->base = null;
        }
        $this->spool->seek($this->appendedAt);
        $whole->drain($this->spool->read(...));

        return $whole;
    }
}
