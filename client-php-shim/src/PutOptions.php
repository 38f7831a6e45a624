<?php

declare(strict_types=1);

namespace Cistern;

/**
 * What a file is stored with, and under which condition.
 */
final class PutOptions
{
    /**
     * @param string|null $contentType null: by the key's extension
     * @param \DateTimeInterface|null $mtime null: now
     * @param array<string, mixed> $meta small JSON object (2,048 bytes) that is kept with the file;
     *                                   'mode' ("0644") is what the stream wrapper reads and writes
     * @param bool $ifNoneMatch only if the key is free, else Conflict
     * @param string|null $ifMatch only if the key holds this version (Entry::$etag), else Conflict
     * @param string|null $class instead of the one that the key's prefix chooses
     * @param string|null $idempotencyKey 1 to 128 printable ASCII characters: a repeat within 24 hours gets
     *                                    the first answer. null: the client makes one for its own retries
     */
    public function __construct(
        public readonly ?string $contentType = null,
        public readonly ?\DateTimeInterface $mtime = null,
        public readonly array $meta = [],
        public readonly bool $ifNoneMatch = false,
        public readonly ?string $ifMatch = null,
        public readonly ?string $class = null,
        public readonly ?string $idempotencyKey = null,
    ) {
    }
}
