<?php

declare(strict_types=1);

namespace Cistern\Stream;

use Cistern\Entry;

/**
 * Entries as stat() tells of files.
 */
final class FileStat
{
    private const FILE = 0o100000;
    private const DIRECTORY = 0o040000;

    /**
     * The array of stat(): a file belongs to the user that PHP runs as, with the mode that chmod() stored, or one that
     * permits all.
     *
     * @return array<int|string, int>
     */
    public static function of(Entry $entry): array
    {
        $mode = $entry->isDirectory ? self::DIRECTORY | 0o777 : self::FILE | self::permissions($entry);

        return self::array($mode, $entry->size, (int) floor($entry->mtime));
    }

    /**
     * @return array<int|string, int>
     */
    public static function array(int $mode, int $size, int $mtime): array
    {
        $stat = [
            'dev' => 0,
            // PHP's copy() takes two files of one inode for the same file.
            'ino' => 0,
            'mode' => $mode,
            'nlink' => 1,
            'uid' => \function_exists('posix_geteuid') ? posix_geteuid() : 0,
            'gid' => \function_exists('posix_getegid') ? posix_getegid() : 0,
            'rdev' => 0,
            'size' => $size,
            'atime' => $mtime,
            'mtime' => $mtime,
            'ctime' => $mtime,
            'blksize' => -1,
            'blocks' => -1,
        ];

        return $stat + array_values($stat);
    }

    private static function permissions(Entry $entry): int
    {
        // is_writable() compares owners by itself; without them only 'everybody' can be told.
        return \function_exists('posix_geteuid') ? $entry->mode() ?? 0o666 : 0o666;
    }
}
