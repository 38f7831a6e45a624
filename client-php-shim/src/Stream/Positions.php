<?php

declare(strict_types=1);

namespace Cistern\Stream;

use Cistern\ReadStream;
use Cistern\Spool;

/**
 * Seeks as PHP's streams make them.
 *
 * @internal
 */
final class Positions
{
    public static function seek(ReadStream $stream, int $offset, int $whence): bool
    {
        $target = self::target($offset, $whence, $stream->tell(), $stream->entry->size);
        if ($target === null) {
            return false;
        }
        $stream->seek($target);

        return true;
    }

    public static function seekIn(Spool $spool, int $offset, int $whence): bool
    {
        $target = self::target($offset, $whence, $spool->tell(), $spool->size());

        return $target !== null && $spool->seek($target);
    }

    /** Where a seek leads; null if nowhere. */
    public static function target(int $offset, int $whence, int $position, int $size): ?int
    {
        $target = $offset + match ($whence) {
            \SEEK_CUR => $position,
            \SEEK_END => $size,
            default => 0,
        };

        return $target < 0 ? null : $target;
    }
}
