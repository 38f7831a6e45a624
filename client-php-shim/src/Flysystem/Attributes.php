<?php

declare(strict_types=1);

namespace Cistern\Flysystem;

use Cistern\Entry;
use League\Flysystem\FileAttributes;
use League\Flysystem\InvalidVisibilityProvided;
use League\Flysystem\Visibility;

/**
 * Entries in Flysystem's terms, and its visibilities as file modes.
 *
 * @internal
 */
final class Attributes
{
    private const MODES = [Visibility::PUBLIC => '0644', Visibility::PRIVATE => '0600'];

    public static function of(Entry $entry): FileAttributes
    {
        $visibility = (($entry->mode() ?? 0o644) & 0o004) !== 0 ? Visibility::PUBLIC : Visibility::PRIVATE;
        $more = ['etag' => $entry->etag, 'sha256' => $entry->sha256];
        $mtime = (int) $entry->mtime;

        return new FileAttributes($entry->key, $entry->size, $visibility, $mtime, $entry->contentType, $more);
    }

    public static function mode(string $visibility): string
    {
        return self::MODES[$visibility]
            ?? throw InvalidVisibilityProvided::withVisibility($visibility, "'public' or 'private'");
    }
}
