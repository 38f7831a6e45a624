<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\InvalidRequest;
use Cistern\Exception\NotFound;
use Cistern\Exception\ReadOnlyStore;
use Cistern\Stream\DirectoryMethods;
use Cistern\Stream\FileMethods;
use Cistern\Stream\FileStat;
use Cistern\Stream\Handle;
use Cistern\Stream\Handles;
use Cistern\Stream\WriteHandle;

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
    use DirectoryMethods;
    use FileMethods;

    /** @var resource|null set by PHP */
    public $context;
    /** What was opened, a file or a directory. */
    private string $uri = '';

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
            $unsaved = WriteHandle::unsaved($client, $key);
            $entry = $unsaved === null ? $client->stat($key) : null;
            $stat = $unsaved?->stat() ?? ($entry === null ? false : FileStat::of($entry));
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
