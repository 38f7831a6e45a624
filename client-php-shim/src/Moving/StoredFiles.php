<?php

declare(strict_types=1);

namespace Cistern\Moving;

use Cistern\Client;
use Cistern\Entry;
use Cistern\Exception\CisternException;
use Cistern\Exception\NotFound;

/**
 * The files that the store has of a scheme, but for hidden ones: these are never copied, in neither direction.
 */
final class StoredFiles
{
    /**
     * @throws CisternException
     * @return \Generator<string, Entry> by key
     */
    public static function of(Client $client, string $scheme): \Generator
    {
        try {
            foreach ($client->list($scheme, true) as $entry) {
                $path = substr($entry->key, \strlen($scheme) + 1);
                if ($entry->isFile() && preg_match('~(?:^|/)\.~', $path) !== 1) {
                    yield $entry->key => $entry;
                }
            }
        } catch (NotFound) {
            // Nothing was stored yet.
        }
    }
}
