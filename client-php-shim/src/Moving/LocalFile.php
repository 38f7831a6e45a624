<?php

declare(strict_types=1);

namespace Cistern\Moving;

/**
 * A file or a directory below a local directory, as it was when somebody looked.
 */
final class LocalFile
{
    /**
     * @param string $path below the directory, without slashes at its ends
     * @param string $local where it is on this machine
     * @param int $mtime seconds since 1970
     * @param int $mode permission bits
     */
    public function __construct(
        public readonly string $path,
        public readonly string $local,
        public readonly bool $isDirectory,
        public readonly int $size,
        public readonly int $mtime,
        public readonly int $mode,
    ) {
    }

    /** Whether it is still what it was, as far as size and time tell. */
    public function isUnchanged(): bool
    {
        clearstatcache(true, $this->local);
        $stat = @lstat($this->local);

        return $stat !== false && $stat['size'] === $this->size && $stat['mtime'] === $this->mtime;
    }
}
