<?php

declare(strict_types=1);

namespace Cistern\Transport;

/**
 * curl handles that a process inherited by fork(). Freeing them would speak on connections that belong to the parent,
 * so they are kept, unused.
 *
 * @internal
 */
final class Abandoned
{
    /** @var list<object> */
    private static array $handles = [];

    public static function keep(?object ...$handles): int
    {
        foreach ($handles as $handle) {
            if ($handle !== null) {
                self::$handles[] = $handle;
            }
        }

        return \count(self::$handles);
    }
}
