<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\CisternException;

/**
 * Bytes that are being written: in memory, and beyond some size in a file without a name, which ends with the process
 * however that ends.
 *
 * @internal
 */
final class Spool
{
    /** @var resource */
    private mixed $stream;
    private bool $onDisk = false;

    /**
     * @throws CisternException
     */
    public function __construct(private readonly int $memory, private readonly ?string $directory)
    {
        $this->stream = self::fopen('php://memory');
    }

    public function __destruct()
    {
        // At the end of a script PHP may have closed it already.
        if (\is_resource($this->stream)) {
            fclose($this->stream);
        }
    }

    /**
     * Writes at the current position.
     *
     * @throws CisternException if not all could be written: the disk is full
     */
    public function write(string $bytes): void
    {
        $at = $this->tell();
        if (!$this->onDisk && $at + \strlen($bytes) > $this->memory) {
            $this->moveToDisk();
        }
        if (@fwrite($this->stream, $bytes) !== \strlen($bytes)) {
            throw new CisternException('The disk that holds files while they are written is full, or broken: '
                . $this->where() . '.');
        }
    }

    /**
     * Writes all that something gives.
     *
     * @param \Closure(int): (string|false) $read gives at most so many bytes at a time, '' at its end
     *
     * @throws CisternException as write()
     */
    public function drain(\Closure $read): void
    {
        while (($bytes = (string) $read(65536)) !== '') {
            $this->write($bytes);
        }
    }

    public function read(int $length): string
    {
        return $length < 1 ? '' : (string) fread($this->stream, $length);
    }

    public function seek(int $offset, int $whence = \SEEK_SET): bool
    {
        // A seek beyond the end fails in memory, and is allowed in files.
        if (!$this->onDisk && $whence === \SEEK_SET && $offset > $this->size()) {
            $this->moveToDisk();
        }

        return fseek($this->stream, $offset, $whence) === 0;
    }

    public function tell(): int
    {
        return (int) ftell($this->stream);
    }

    public function size(): int
    {
        return fstat($this->stream)['size'] ?? 0;
    }

    public function truncate(int $size): bool
    {
        if (!$this->onDisk && $size > $this->memory) {
            $this->moveToDisk();
        }

        return $size >= 0 && ftruncate($this->stream, $size);
    }

    /**
     * The whole of it, from the beginning, to be read. Reading moves the position.
     *
     * @return resource
     */
    public function contents(): mixed
    {
        rewind($this->stream);

        return $this->stream;
    }

    private function moveToDisk(): void
    {
        $directory = $this->where();
        $path = @tempnam($directory, 'cistern-');
        if ($path === false || \dirname($path) !== rtrim($directory, '/')) {
            if ($path !== false) {
                unlink($path);
            }
            throw new CisternException("The directory '$directory', which holds files while they are written, cannot "
                . 'be written to by this user.');
        }
        $disk = self::fopen($path);
        unlink($path);
        $at = $this->tell();
        rewind($this->stream);
        if (stream_copy_to_stream($this->stream, $disk) !== $this->size()) {
            throw new CisternException("The disk of '$directory' is full, or broken.");
        }
        fseek($disk, $at);
        fclose($this->stream);
        $this->stream = $disk;
        $this->onDisk = true;
    }

    private function where(): string
    {
        return $this->directory ?? sys_get_temp_dir();
    }

    /**
     * @return resource
     */
    private static function fopen(string $path): mixed
    {
        $stream = fopen($path, 'w+b');
        if ($stream === false) {
            throw new CisternException("'$path' cannot be opened.");
        }

        return $stream;
    }
}
