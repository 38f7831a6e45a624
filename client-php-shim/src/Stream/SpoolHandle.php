<?php

declare(strict_types=1);

namespace Cistern\Stream;

use Cistern\Spool;

/**
 * A file that is read from a copy of its bytes: this process is still writing it, or wants a file descriptor.
 *
 * @internal
 */
final class SpoolHandle implements Handle
{
    private bool $ended = false;

    /**
     * @param array<int|string, int> $stat what stat() says of it
     */
    public function __construct(private readonly Spool $spool, private readonly array $stat)
    {
    }

    public function read(int $length): string
    {
        $bytes = $this->spool->read($length);
        $this->ended = $bytes === '';

        return $bytes;
    }

    public function write(string $bytes): int
    {
        return 0;
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

        return Positions::seekIn($this->spool, $offset, $whence);
    }

    public function truncate(int $size): bool
    {
        return false;
    }

    public function stat(): array
    {
        return $this->stat;
    }

    public function close(): void
    {
        // Nothing was written.
    }

    public function abandon(string $uri): void
    {
        // Nothing is lost.
    }
}
