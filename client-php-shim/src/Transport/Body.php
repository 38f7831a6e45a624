<?php

declare(strict_types=1);

namespace Cistern\Transport;

use Cistern\Exception\CisternException;

/**
 * What a request carries: bytes in memory, or a seekable stream from where it stood. It can be sent again.
 */
final class Body
{
    private const PIECE = 262144;

    private int $at = 0;
    /** Of what was read since the last rewind. */
    private \HashContext $hash;

    /**
     * @param resource|null $stream
     */
    private function __construct(
        private readonly string $bytes,
        private readonly mixed $stream,
        private readonly int $offset,
        public readonly int $size,
    ) {
        $this->hash = hash_init('sha256');
    }

    public static function ofString(string $bytes): self
    {
        return new self($bytes, null, 0, \strlen($bytes));
    }

    /**
     * @param array<mixed>|object $json
     */
    public static function ofJson(array|object $json): self
    {
        return self::ofString(json_encode($json, \JSON_THROW_ON_ERROR | \JSON_UNESCAPED_SLASHES));
    }

    /**
     * @param resource $stream seekable; what is left of it becomes the body
     *
     * @throws CisternException
     */
    public static function ofStream(mixed $stream): self
    {
        $offset = ftell($stream);
        if ($offset === false || fseek($stream, 0, \SEEK_END) !== 0 || ($end = ftell($stream)) === false) {
            throw new CisternException('The stream that is to be stored cannot be measured.');
        }

        return new self('', $stream, $offset, max(0, $end - $offset));
    }

    /**
     * The whole body if it is a string.
     */
    public function bytes(): ?string
    {
        return $this->stream === null ? $this->bytes : null;
    }

    /**
     * @throws CisternException
     */
    public function rewind(): void
    {
        $this->at = 0;
        $this->hash = hash_init('sha256');
        if ($this->stream !== null && fseek($this->stream, $this->offset) !== 0) {
            throw new CisternException('The stream that is to be stored cannot be rewound.');
        }
    }

    public function eof(): bool
    {
        return $this->at >= $this->size;
    }

    /**
     * The next piece; '' at the end.
     *
     * @throws CisternException if the stream ends too early
     */
    public function next(): string
    {
        $length = min(self::PIECE, $this->size - $this->at);
        if ($length <= 0) {
            return '';
        }
        $piece = $this->stream === null
            ? substr($this->bytes, $this->at, $length)
            : (string) fread($this->stream, $length);
        if ($piece === '') {
            throw new CisternException("The stream that is to be stored ended after $this->at of $this->size bytes.");
        }
        $this->at += \strlen($piece);
        hash_update($this->hash, $piece);

        return $piece;
    }

    /**
     * SHA-256 of the whole body, in lower-case hex.
     *
     * @throws CisternException
     */
    public function sha256(): string
    {
        if ($this->stream === null) {
            return hash('sha256', $this->bytes);
        }
        $this->rewind();
        while ($this->next() !== '') {
            // Reading is enough.
        }

        return $this->sentSha256();
    }

    /**
     * The same of what was sent last, without reading it again.
     */
    public function sentSha256(): string
    {
        return $this->stream === null ? $this->sha256() : hash_final(hash_copy($this->hash));
    }
}
