<?php

declare(strict_types=1);

namespace Cistern\Moving;

/**
 * What a pass did, counted in files.
 */
final class Report
{
    /** Names that are listed one by one; more of them are only counted. */
    private const LISTED = 10000;

    /** In the other place already, with the same content. */
    public int $there = 0;
    public int $copied = 0;
    public int $replaced = 0;
    /** Removed at the other place, since they are gone here. */
    public int $removed = 0;
    /** Deleted by the site since it left the old directory: not brought back. */
    public int $gone = 0;
    public int $bytes = 0;
    /** Still to be done: by another pass. */
    public int $left = 0;
    /** @var array<string, string> what stays out, and why */
    public array $skipped = [];
    public int $skippedCount = 0;
    /** @var array<string, string> what is left because of an error, and which */
    public array $failed = [];
    public int $failedCount = 0;
    public float $seconds = 0.0;

    public function skip(string $path, string $why): void
    {
        ++$this->skippedCount;
        if (\count($this->skipped) < self::LISTED) {
            $this->skipped[$path] = $why;
        }
    }

    public function fail(string $path, string $why): void
    {
        ++$this->left;
        ++$this->failedCount;
        if (\count($this->failed) < self::LISTED) {
            $this->failed[$path] = $why;
        }
    }

    /** How many files were changed at the other place. */
    public function changed(): int
    {
        return $this->copied + $this->replaced + $this->removed;
    }

    public function add(self $other): void
    {
        foreach (['there', 'copied', 'replaced', 'removed', 'gone', 'bytes', 'left', 'skippedCount'] as $what) {
            $this->$what += $other->$what;
        }
        $this->failedCount += $other->failedCount;
        $this->seconds += $other->seconds;
        $this->skipped += $other->skipped;
        $this->failed += $other->failed;
    }
}
