<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\InvalidRequest;

/**
 * Keys: paths of 1 to 1,024 bytes of UTF-8, without NUL and without the segments '', '.' and '..'.
 */
final class Key
{
    private const MAX_BYTES = 1024;

    /**
     * Refuses what a tracker would refuse, before it is made part of a URL.
     *
     * @throws InvalidRequest
     */
    public static function check(string $key): void
    {
        $why = match (true) {
            $key === '' => 'it is empty',
            \strlen($key) > self::MAX_BYTES => 'it is longer than ' . self::MAX_BYTES . ' bytes',
            str_contains($key, "\0") => 'it contains a NUL character',
            preg_match('//u', $key) !== 1 => 'it is not valid UTF-8',
            str_contains("/$key/", '//') => "it has an empty segment (a leading, trailing or doubled '/')",
            preg_match('~(^|/)\.\.?(/|$)~', $key) === 1 => "it has a segment '.' or '..'",
            default => null,
        };
        if ($why !== null) {
            throw new InvalidRequest("The key is not valid: $why.", 'invalid-key');
        }
    }

    /**
     * The key in a URI as people and programs write it: 'public://a//b/./../c/' is 'a/c'; '' for the root.
     *
     * @throws InvalidRequest if it leads out of the root
     */
    public static function ofUri(string $uri): string
    {
        $path = ($at = strpos($uri, '://')) === false ? $uri : substr($uri, $at + 3);
        $segments = [];
        foreach (explode('/', $path) as $segment) {
            if ($segment === '' || $segment === '.') {
                continue;
            }
            if ($segment !== '..') {
                $segments[] = $segment;
            } elseif (array_pop($segments) === null) {
                throw new InvalidRequest("'$uri' leads out of the store.", 'invalid-key');
            }
        }

        return implode('/', $segments);
    }

    /** The key as it stands in the path of a URL (RFC 3986): each segment by itself, the slashes kept. */
    public static function encode(string $key): string
    {
        return implode('/', array_map(rawurlencode(...), explode('/', $key)));
    }

    /** The directory that holds it; '' for the root. */
    public static function parent(string $key): string
    {
        return substr($key, 0, (int) strrpos($key, '/'));
    }
}
