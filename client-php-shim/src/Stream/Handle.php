<?php

declare(strict_types=1);

namespace Cistern\Stream;

use Cistern\Exception\CisternException;

/**
 * An open file, as a stream wrapper needs it.
 *
 * @internal
 */
interface Handle
{
    /**
     * @throws CisternException
     * @return string|false false: it was not opened for that
     */
    public function read(int $length): string|false;

    /**
     * @throws CisternException
     * @return int bytes taken; 0: it was not opened for that
     */
    public function write(string $bytes): int;

    public function eof(): bool;

    public function tell(): int;

    public function seek(int $offset, int $whence): bool;

    public function truncate(int $size): bool;

    /**
     * @return array<int|string, int>
     */
    public function stat(): array;

    /**
     * Stores what was written.
     *
     * @throws CisternException
     */
    public function close(): void;

    /**
     * Gives up what was written, saying so.
     */
    public function abandon(string $uri): void;
}
