<?php

declare(strict_types=1);

namespace Cistern\Stream;

use Cistern\Exception\InvalidRequest;
use Cistern\ReadStream;

/**
 * A ReadStream as a PHP stream.
 *
 * @internal
 */
final class ReadResource
{
    private const PROTOCOL = 'cistern-read';

    /** @var resource|null set by PHP */
    public $context;
    private ReadStream $stream;

    /**
     * @return resource
     */
    public static function open(ReadStream $stream): mixed
    {
        if (!\in_array(self::PROTOCOL, stream_get_wrappers(), true)) {
            stream_wrapper_register(self::PROTOCOL, self::class);
        }
        $context = stream_context_create([self::PROTOCOL => ['stream' => $stream]]);
        $resource = fopen(self::PROTOCOL . '://', 'rb', false, $context);

        return $resource === false ? throw new InvalidRequest('PHP does not open streams of its own.') : $resource;
    }

    public function stream_open(string $path, string $mode): bool
    {
        $options = $this->context === null ? [] : stream_context_get_options($this->context);
        $own = $options[self::PROTOCOL] ?? null;
        $stream = \is_array($own) ? $own['stream'] ?? null : null;
        if (!$stream instanceof ReadStream) {
            return false;
        }
        $this->stream = $stream;

        return true;
    }

    public function stream_read(int $count): string
    {
        return $this->stream->read($count);
    }

    public function stream_eof(): bool
    {
        return $this->stream->eof();
    }

    public function stream_tell(): int
    {
        return $this->stream->tell();
    }

    public function stream_seek(int $offset, int $whence): bool
    {
        return Positions::seek($this->stream, $offset, $whence);
    }

    /**
     * @return array<int|string, int>
     */
    public function stream_stat(): array
    {
        return FileStat::of($this->stream->entry);
    }

    public function stream_set_option(int $option, int $arg1, int $arg2): bool
    {
        return false;
    }

    public function stream_close(): void
    {
        $this->stream->close();
    }
}
