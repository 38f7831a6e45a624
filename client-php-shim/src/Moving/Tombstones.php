<?php

declare(strict_types=1);

namespace Cistern\Moving;

use Cistern\Client;
use Cistern\Exception\CisternException;

/**
 * What was deleted, or moved away, of files that an old directory still has: so that neither the read-through nor the
 * next pass of the copy brings them back. A tombstone for a directory stands for all below it.
 *
 * A tombstone is an empty file in a reserved directory of the domain, seen by all heads as soon as it is written:
 * `.cistern/tombstones/{key}/.gone`. Names that begin with a dot are never published, so no key is in the way of
 * another's tombstone. (docs/decisions/tombstones.md)
 */
final class Tombstones
{
    /** Everything that Cistern keeps for itself in a domain. */
    public const RESERVED = '.cistern';
    private const ROOT = self::RESERVED . '/tombstones';
    private const LEAF = '.gone';

    public function __construct(private readonly Client $client)
    {
    }

    /**
     * @throws CisternException
     */
    public function add(string $key): void
    {
        $this->client->put(self::key($key), '');
    }

    /**
     * Which of the keys are gone: they themselves, or directories above them. Each answer is later than the call.
     *
     * @param array<string> $keys
     *
     * @throws CisternException
     * @return array<string, bool> by key
     */
    public function of(array $keys): array
    {
        $asked = [];
        foreach ($keys as $key) {
            foreach (self::above($key) as $above) {
                $asked[self::key($above)] = true;
            }
        }
        $found = $this->client->statMany(array_keys($asked), true);
        $gone = [];
        foreach ($keys as $key) {
            $gone[$key] = false;
            foreach (self::above($key) as $above) {
                $gone[$key] = $gone[$key] || $found[self::key($above)] !== null;
            }
        }

        return $gone;
    }

    /**
     * Forgets all of them, when the old directory counts as it is.
     *
     * @throws CisternException
     */
    public function clear(): void
    {
        $this->client->removeDirectories([self::ROOT]);
    }

    private static function key(string $key): string
    {
        return self::ROOT . "/$key/" . self::LEAF;
    }

    /**
     * @return list<string> the key and the directories above it
     */
    private static function above(string $key): array
    {
        $all = [];
        for (; $key !== ''; $key = substr($key, 0, (int) strrpos($key, '/'))) {
            $all[] = $key;
        }

        return $all;
    }
}
