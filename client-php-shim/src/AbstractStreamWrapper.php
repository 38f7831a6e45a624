<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\InvalidRequest;
use Cistern\Exception\NotFound;
use Cistern\Exception\ReadOnlyStore;
use Cistern\Stream\FileStat;
use Cistern\Stream\Handle;
use Cistern\Stream\Handles;
use Cistern\Stream\Shutdown;

/**
 * PHP's stream wrapper interface over a Client: what fopen(), rename(), is_dir() and all the others call. Who extends
 * it says which client and key a URI means.
 *
 * What is wrong with the names (absent, taken, not empty) is answered as local files answer it: false and a warning. An
 * outage, a refused token or corrupt bytes are exceptions, since false would mean 'does not exist', and PHP does not
 * look at all whether a write succeeded that was still in a buffer. A file is stored when it is closed, whole or not at
 * all; if that fails, fclose(), file_put_contents(), copy() and the like throw.
 *
 * Parameters have no types, so that classes can implement interfaces of other frameworks that have none.
 */
abstract class AbstractStreamWrapper
{
    /** @var resource|null set by PHP */
    public $context;
    private ?Handle $handle = null;
    private string $uri = '';
    /** @var \Generator<int, Entry>|null */
    private ?\Generator $listing = null;

    /**
     * The client that is in charge of a URI, and the key that it names there ('' is the root).
     *
     *
     * @throws CisternException
     * @return array{Client, string}
     */
    abstract protected function locate(string $uri): array;

    /**
     * Something could not be done, and that is not the caller's doing: an outage, a refused token, corrupt bytes. By
     * default it is thrown; whoever overrides this and returns lets the operation answer false.
     *
     * @param string $operation the method of this class: 'url_stat'
     *
     * @throws CisternException
     */
    protected function failed(string $operation, string $uri, CisternException $failure): void
    {
        throw $failure;
    }

    /**
     * Opens a file. Who overrides this may have its bytes from elsewhere.
     *
     * @param string $mode as fopen() has it
     *
     * @throws CisternException
     */
    protected function open(Client $client, string $key, string $mode): Handle
    {
        return Handles::open($client, $key, $mode);
    }

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
        if (Shutdown::isAbandoned()) {
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
     * Nothing below is a file descriptor.
     *
     * @param int $cast_as
     *
     * @return resource|false
     */
    public function stream_cast($cast_as)
    {
        return false;
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

    /**
     * touch(), chmod(), chown(), chgrp(). Modes are kept with files; directories and owners are as they are, which is
     * no error.
     *
     * @param string $path
     * @param int $option
     * @param mixed $value
     */
    public function stream_metadata($path, $option, $value): bool
    {
        return $this->answer('stream_metadata', $path, true, function () use ($path, $option, $value): void {
            [$client, $key] = $this->locate($path);
            if ($option === \STREAM_META_TOUCH) {
                $times = \is_array($value) ? $value : [];
                Handles::touch($client, $key, \is_int($times[0] ?? null) ? $times[0] : null);
            } else {
                Handles::chmod($client, $key, $option === \STREAM_META_ACCESS && \is_int($value) ? $value : null);
            }
            clearstatcache();
        });
    }

    /**
     * stat() and all that asks about a name.
     *
     * @param string $path
     * @param int $flags
     *
     * @return array<int|string, int>|false false only if there is nothing of that name
     */
    public function url_stat($path, $flags): array|false
    {
        $stat = false;
        // PHP warns by itself where it wants to.
        $this->answer('url_stat', $path, false, function () use ($path, &$stat): void {
            [$client, $key] = $this->locate($path);
            $entry = $client->stat($key);
            $stat = $entry === null ? false : FileStat::of($entry);
        });

        return $stat;
    }

    /**
     * @param string $path
     */
    public function unlink($path): bool
    {
        return $this->answer('unlink', $path, true, function () use ($path): void {
            [$client, $key] = $this->locate($path);
            $client->delete($key);
            clearstatcache();
        });
    }

    /**
     * @param string $path_from
     * @param string $path_to
     */
    public function rename($path_from, $path_to): bool
    {
        return $this->answer('rename', $path_from, true, function () use ($path_from, $path_to): void {
            [$client, $from] = $this->locate($path_from);
            [$other, $to] = $this->locate($path_to);
            if ($client->options !== $other->options) {
                throw new InvalidRequest("'$path_to' is in another store; copy and delete instead.");
            }
            $client->move($from, $to);
            clearstatcache();
        });
    }

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

    /**
     * Does something; true if that went well.
     *
     * @param \Closure(): void $do
     */
    private function answer(string $operation, string $uri, bool $report, \Closure $do): bool
    {
        try {
            $do();

            return true;
        } catch (NotFound | Conflict | InvalidRequest | ReadOnlyStore $e) {
            if ($report) {
                trigger_error("$operation of '$uri': {$e->getMessage()}", \E_USER_WARNING);
            }
        } catch (CisternException $e) {
            $this->failed($operation, $uri, $e);
        }

        return false;
    }
}
