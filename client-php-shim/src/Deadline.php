<?php

declare(strict_types=1);

namespace Cistern;

/**
 * Time that may be lost to trackers that fail, hang or are slow: by a whole web request, or on the command line by one
 * operation. Time in which all goes well does not count, nor time in which bytes move.
 *
 * @internal
 */
final class Deadline
{
    /** What an answer may take before it counts as slow, in seconds. */
    private const SWIFT = 0.25;

    private float $lost = 0.0;

    public function __construct(
        private readonly float $seconds,
        private readonly bool $eachOperation = \PHP_SAPI === 'cli' || \PHP_SAPI === 'phpdbg' || \PHP_SAPI === 'embed',
    ) {
    }

    /** An operation begins that users of the client asked for. */
    public function beginOperation(): void
    {
        if ($this->eachOperation) {
            $this->lost = 0.0;
        }
    }

    public function beginRequest(): void
    {
        $this->lost = 0.0;
    }

    /** An answer came after so many seconds. */
    public function answered(float $seconds): void
    {
        $this->lost += max(0.0, $seconds - self::SWIFT);
    }

    /** Nothing came of so many seconds. */
    public function lost(float $seconds): void
    {
        $this->lost += $seconds;
    }

    /** Seconds that are left; 0: none. */
    public function left(): float
    {
        return max(0.0, $this->seconds - $this->lost);
    }
}
