<?php

declare(strict_types=1);

namespace Cistern\Moving;

/**
 * How much, how fast and how long a pass may work. What is not done then is left for the next one.
 */
final class Limits
{
    private readonly float $started;
    private int $files = 0;
    private float $bytes = 0.0;

    /**
     * @param int $count files that are copied; 0: all
     * @param float $seconds how long; 0: as long as it takes
     * @param float $bytesPerSecond 0: as fast as it goes
     * @param int $parallel files at the same time
     */
    public function __construct(
        private readonly int $count = 0,
        private readonly float $seconds = 0.0,
        private readonly float $bytesPerSecond = 0.0,
        public readonly int $parallel = 8,
    ) {
        $this->started = microtime(true);
    }

    /** Whether one more file may be begun; waits until the rate allows it. */
    public function take(int $bytes): bool
    {
        if ($this->isReached()) {
            return false;
        }
        ++$this->files;
        $this->bytes += $bytes;
        if ($this->bytesPerSecond > 0) {
            $ahead = $this->bytes / $this->bytesPerSecond - (microtime(true) - $this->started);
            if ($this->seconds > 0) {
                $ahead = min($ahead, $this->started + $this->seconds - microtime(true));
            }
            usleep((int) (max(0.0, $ahead) * 1e6));
        }

        return true;
    }

    public function isReached(): bool
    {
        return $this->count > 0 && $this->files >= $this->count
            || $this->seconds > 0 && microtime(true) - $this->started >= $this->seconds;
    }
}
