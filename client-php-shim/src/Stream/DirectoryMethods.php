<?php

declare(strict_types=1);

namespace Cistern\Stream;

use Cistern\Entry;

/**
 * The methods of AbstractStreamWrapper that PHP calls for directories.
 *
 * @internal
 */
trait DirectoryMethods
{
    /** @var \Generator<int, Entry>|null of the directory that is open */
    private ?\Generator $listing = null;

    /**
     * @param string $path
     * @param int $mode not kept: everybody may do everything with directories
     * @param int $options
     */
    public function mkdir($path, $mode, $options): bool
    {
        return $this->answer('mkdir', $path, true, function () use ($path, $options): void {
            [$client, $key] = $this->locate($path);
            $client->makeDirectory($key, ($options & \STREAM_MKDIR_RECURSIVE) !== 0, true);
            clearstatcache();
        });
    }

    /**
     * @param string $path
     * @param int $options
     */
    public function rmdir($path, $options): bool
    {
        return $this->answer('rmdir', $path, true, function () use ($path): void {
            [$client, $key] = $this->locate($path);
            $client->removeDirectory($key);
            clearstatcache();
        });
    }

    /**
     * @param string $path
     * @param int $options
     */
    public function dir_opendir($path, $options): bool
    {
        $this->uri = $path;

        return $this->answer('dir_opendir', $path, false, function () use ($path): void {
            [$client, $key] = $this->locate($path);
            $this->listing = $client->list($key);
        });
    }

    public function dir_readdir(): string|false
    {
        if ($this->listing === null || !$this->listing->valid()) {
            return false;
        }
        $name = $this->listing->current()->name();
        $this->listing->next();

        return $name;
    }

    public function dir_rewinddir(): bool
    {
        return $this->dir_opendir($this->uri, 0);
    }

    public function dir_closedir(): bool
    {
        $this->listing = null;

        return true;
    }
}
