<?php

declare(strict_types=1);

namespace Cistern;

/**
 * An open file: constant memory, and bytes come as they are read. If a connection breaks, reading goes on at that byte
 * elsewhere. What is read in one go from the beginning to the end is checked by its digest; the end of a broken
 * transfer is an exception, never an early end of the file.
 */
final class ReadStream
{
    /** What was opened; its `class`, `meta` and `fid` are not known here. */
    public readonly Entry $entry;

    /**
     * Up to $length bytes, '' only at the end.
     */
    public function read(int $length): string
    {
        throw new \LogicException('to be filled');
    }

    public function eof(): bool
    {
        throw new \LogicException('to be filled');
    }

    public function tell(): int
    {
        throw new \LogicException('to be filled');
    }

    /**
     * @param int $offset from the beginning, 0 to the file's size
     */
    public function seek(int $offset): void
    {
        throw new \LogicException('to be filled');
    }

    public function close(): void
    {
        throw new \LogicException('to be filled');
    }

    /**
     * The same as a PHP stream, for what wants one.
     *
     * @return resource
     */
    public function toResource(): mixed
    {
        throw new \LogicException('to be filled');
    }
}
