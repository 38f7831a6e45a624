<?php

declare(strict_types=1);

namespace Cistern\Stream;

use Cistern\ReadStream;

/**
 * A file that was opened with mode 'r'.
 *
 * @internal
 */
final class ReadHandle implements Handle
{
    /** As with local files, the end is seen by who reads there. */
    private bool $ended = false;

    /**
     * @param array<int|string, int> $stat
     */
    public function __construct(private readonly ReadStream $stream, private readonly array $stat)
    {
    }

    public function read(int $length): string
    {
        $bytes = $this->stream->read($length);
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
        return $this->stream->tell();
    }

    public function seek(int $offset, int $whence): bool
    {
        $this->ended = false;

        return Positions::seek($this->stream, $offset, $whence);
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
        $this->stream->close();
    }

    public function abandon(string $uri): void
    {
        $this->stream->close();
    }
}
