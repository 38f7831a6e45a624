<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\CisternException;

/**
 * What a key names: a file or a directory. The fields below $mtime are a file's; a directory has 0, '' and [] there.
 */
final class Entry
{
    /**
     * @param string $key below the client's prefix, without slashes at its ends; '' is the root
     * @param float $mtime seconds since 1970
     * @param int $size bytes
     * @param string $etag with its quotes
     * @param string $sha256 lower-case hex
     * @param array<string, mixed> $meta
     */
    public function __construct(
        public readonly string $key,
        public readonly bool $isDirectory,
        public readonly float $mtime,
        public readonly int $size = 0,
        public readonly string $etag = '',
        public readonly string $sha256 = '',
        public readonly string $contentType = '',
        public readonly string $class = '',
        public readonly array $meta = [],
        public readonly int $fid = 0,
    ) {
    }

    public function isFile(): bool
    {
        return !$this->isDirectory;
    }

    /**
     * The key's last segment.
     */
    public function name(): string
    {
        return substr((string) strrchr('/' . $this->key, '/'), 1);
    }

    /**
     * The permission bits in `meta`, as chmod() stored them; null if none are there.
     */
    public function mode(): ?int
    {
        $mode = $this->meta['mode'] ?? null;

        return \is_string($mode) && preg_match('/^[0-7]{3,4}$/', $mode) === 1 ? (int) octdec($mode) : null;
    }

    /**
     * Reads an entry as a tracker sends it.
     *
     * @param string $prefix what stands before the key, with its slash
     *
     * @throws CisternException if it is not one
     */
    public static function fromJson(mixed $json, string $prefix = ''): self
    {
        if (
            !\is_array($json)
            || !\is_string($key = $json['key'] ?? null)
            || !\is_string($mtime = $json['mtime'] ?? null)
        ) {
            throw new CisternException('The tracker sent something that is no entry. Do client and tracker fit?');
        }
        $key = str_starts_with($key, $prefix) ? substr($key, \strlen($prefix)) : '';
        $time = (float) (new \DateTimeImmutable($mtime))->format('U.u');
        if (($json['kind'] ?? null) === 'directory') {
            return new self($key, true, $time);
        }
        $text = static fn (string $name): string => \is_string($json[$name] ?? null) ? $json[$name] : '';
        $number = static fn (string $name): int => \is_int($json[$name] ?? null) ? $json[$name] : 0;
        /** @var array<string, mixed> $meta */
        $meta = \is_array($json['meta'] ?? null) ? $json['meta'] : [];

        return new self(
            $key,
            false,
            $time,
            $number('size'),
            $text('etag'),
            $text('sha256'),
            $text('contentType'),
            $text('class'),
            $meta,
            $number('fid'),
        );
    }
}
