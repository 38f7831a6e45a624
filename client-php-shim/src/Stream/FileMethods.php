<?php

declare(strict_types=1);

namespace Cistern\Stream;

use Cistern\Exception\CisternException;
use Cistern\Spool;

/**
 * The methods of AbstractStreamWrapper that PHP calls for a file that is open.
 *
 * @internal
 */
trait FileMethods
{
    private ?Handle $handle = null;
    /** Whether the file that is open, or is being opened, is only read. */
    protected bool $reads = false;

    /**
     * fopen() and all that opens files.
     *
     * @param string $path
     * @param string $mode
     * @param int $options
     * @param string|null $opened_path
     */
    public function stream_open($path, $mode, $options, &$opened_path): bool
    {
        $this->uri = $path;

        $report = ($options & \STREAM_REPORT_ERRORS) !== 0;

        return $this->answer('stream_open', $path, $report, function () use ($mode): void {
            $this->reads = str_starts_with($mode, 'r') && !str_contains($mode, '+');
            [$client, $key] = $this->locate($this->uri);
            $this->handle = $this->open($client, $key, $mode);
        });
    }

    /**
     * @param int $count
     */
    public function stream_read($count): string|false
    {
        // An exception leaves PHP's functions; false would make them return what came so far as if it were all.
        $bytes = $this->handle?->read($count) ?? false;
        if ($bytes === false) {
            trigger_error("'$this->uri' was not opened for reading.", \E_USER_NOTICE);
        }

        return $bytes;
    }

    /**
     * @param string $data
     */
    public function stream_write($data): int
    {
        $written = $this->handle?->write($data) ?? 0;
        if ($written < \strlen($data)) {
            $why = 'it was not opened for that, or an error came before';
            trigger_error("'$this->uri' takes no bytes: $why.", \E_USER_NOTICE);
        }

        return $written;
    }

    public function stream_eof(): bool
    {
        return $this->handle?->eof() ?? true;
    }

    public function stream_tell(): int
    {
        return $this->handle?->tell() ?? 0;
    }

    /**
     * @param int $offset
     * @param int $whence
     */
    public function stream_seek($offset, $whence = \SEEK_SET): bool
    {
        return $this->handle?->seek($offset, $whence) ?? false;
    }

    /**
     * @param int $new_size
     */
    public function stream_truncate($new_size): bool
    {
        return $this->handle?->truncate($new_size) ?? false;
    }

    /**
     * A file is stored when it is closed; a flush is too early, and zero-byte files have none.
     */
    public function stream_flush(): bool
    {
        return true;
    }

    /**
     * @throws CisternException if the file could not be stored
     */
    public function stream_close(): void
    {
        $handle = $this->handle;
        $this->handle = null;
        if ($handle === null) {
            return;
        }
        // At the very end of a script no class can be loaded any more, and who only reads has none to load.
        if (!$this->reads && Shutdown::isAbandoned()) {
            $handle->abandon($this->uri);

            return;
        }
        $handle->close();
        clearstatcache();
    }

    /**
     * @return array<int|string, int>|false
     */
    public function stream_stat(): array|false
    {
        return $this->handle?->stat() ?? false;
    }

    /**
     * There is no lock that other machines would see, so none is granted.
     *
     * @param int $operation
     */
    public function stream_lock($operation): bool
    {
        return ($operation & \LOCK_UN) === \LOCK_UN;
    }

    /**
     * Nothing below is a file descriptor. Who wants one to read from (gzopen(), proc_open()) gets that of a copy on the
     * local disk; to write by one would go past the store.
     *
     * @param int $cast_as
     *
     * @return resource|false
     */
    public function stream_cast($cast_as)
    {
        if ($cast_as !== \STREAM_CAST_AS_STREAM || $this->handle === null || !$this->reads) {
            return false;
        }
        [$client] = $this->locate($this->uri);
        $copy = new Spool(-1, $client->options->spoolDirectory);
        // Only a file has a descriptor, and it may be empty.
        $copy->write('');
        $copy->drain($this->handle->read(...));
        $stat = $this->handle->stat();
        $this->handle->close();
        $this->handle = new SpoolHandle($copy, $stat);

        return $copy->contents();
    }

    /**
     * Blocking, timeouts and buffers are not changed. Quietly: PHP itself asks.
     *
     * @param int $option
     * @param int $arg1
     * @param int|null $arg2
     */
    public function stream_set_option($option, $arg1, $arg2): bool
    {
        return false;
    }
}
