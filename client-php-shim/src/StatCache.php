<?php

declare(strict_types=1);

namespace Cistern;

/**
 * What keys were found to name, for the moments of one web request. Own writes correct it.
 *
 * @internal
 */
final class StatCache
{
    private const MAX_ENTRIES = 10000;
    /** Somebody else may be making what is absent now. */
    private const ABSENT_SECONDS = 1.0;

    /** @var array<string, array{float, Entry|null}> until when, and what */
    private array $known = [];

    public function __construct(private readonly float $seconds)
    {
    }

    /**
     * @return Entry|false|null null: known to be absent; false: not known
     */
    public function find(string $key): Entry|false|null
    {
        [$until, $entry] = $this->known[$key] ?? [0.0, null];

        return $until > microtime(true) ? $entry : false;
    }

    public function keep(string $key, ?Entry $entry): void
    {
        $seconds = $entry === null ? min($this->seconds, self::ABSENT_SECONDS) : $this->seconds;
        if ($seconds <= 0) {
            return;
        }
        if (\count($this->known) >= self::MAX_ENTRIES) {
            $this->known = [];
        }
        $this->known[$key] = [microtime(true) + $seconds, $entry];
    }

    /** A write made this, and the directories above it. */
    public function made(Entry $entry): void
    {
        $this->keep($entry->key, $entry);
        for ($above = Key::parent($entry->key); $above !== ''; $above = Key::parent($above)) {
            unset($this->known[$above]);
        }
    }

    public function forget(string $key): void
    {
        unset($this->known[$key]);
    }

    /** A directory was moved, copied or removed: what lies below is not known any more. */
    public function forgetAll(): void
    {
        $this->known = [];
    }
}
