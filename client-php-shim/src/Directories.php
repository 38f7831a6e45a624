<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\NotFound;
use Cistern\Exception\Unavailable;

/**
 * Directories: made, listed and removed. The client's methods say what each does.
 *
 * @internal
 */
final class Directories
{
    public function __construct(private readonly Api $api, private readonly StatCache $known)
    {
    }

    /**
     * @throws CisternException
     */
    public function make(string $key, bool $parents, bool $exclusive): Entry
    {
        if ($key === '') {
            return $exclusive ? throw new Conflict('The root directory exists.') : new Entry('', true, 0.0);
        }
        $path = $this->api->writable($key);
        $this->known->forget($key);
        $headers = Api::idempotency() + ($exclusive ? ['If-None-Match' => '*'] : []);
        // The client's own root is made by whoever needs it first.
        $parents = $parents || !str_contains($key, '/');
        $target = 'directories/' . Key::encode($path) . ($parents ? '' : '?parents=false');
        $entry = $this->api->entry($this->api->send('PUT', $target, null, $headers)->json());
        $this->known->made($entry);

        return $entry;
    }

    /**
     * @throws CisternException
     */
    public function remove(string $key, bool $recursive): void
    {
        $this->api->checkWritable($key);
        $path = $this->api->directory($key);
        if ($key === '' && !$recursive) {
            throw new Conflict('The root directory cannot be removed, only emptied.');
        }
        $this->known->forgetAll();
        $target = 'directories/' . Key::encode($path) . ($recursive ? '?recursive=true' : '');
        try {
            $this->api->send('DELETE', $target, null, Api::idempotency());
        } catch (NotFound $e) {
            if ($key !== '') {
                throw $e;
            }
        }
        $this->known->keep($key, null);
    }

    /**
     * @param list<string> $keys
     *
     * @throws CisternException
     */
    public function removeMany(array $keys): void
    {
        $paths = array_map($this->api->writable(...), $keys);
        $this->known->forgetAll();
        $this->api->sendJson('POST', 'remove-directories', ['keys' => $paths], Api::idempotency());
        foreach ($keys as $key) {
            $this->known->keep($key, null);
        }
    }

    /**
     * @throws CisternException
     * @return \Generator<int, Entry>
     */
    public function list(string $key, bool $recursive): \Generator
    {
        $path = $this->api->directory($key);
        try {
            $first = $this->page($path, $recursive, null);
        } catch (NotFound $e) {
            $first = $key === '' ? [[], null] : throw $e;
        }

        return $this->pages($path, $recursive, $first);
    }

    /**
     * @param array{list<Entry>, string|null} $page
     *
     * @return \Generator<int, Entry>
     */
    private function pages(string $path, bool $recursive, array $page): \Generator
    {
        while (true) {
            [$entries, $next] = $page;
            foreach ($entries as $entry) {
                yield $entry;
            }
            if ($next === null) {
                return;
            }
            $page = $this->page($path, $recursive, $next);
        }
    }

    /**
     * @return array{list<Entry>, string|null} and the cursor of the page that follows
     */
    private function page(string $path, bool $recursive, ?string $cursor): array
    {
        $query = http_build_query(($recursive ? ['recursive' => 'true'] : []) + ['cursor' => $cursor]);
        $json = $this->api->json('GET', 'directories/' . Key::encode($path) . ($query === '' ? '' : "?$query"));
        if (!\is_array($json['entries'] ?? null)) {
            throw new Unavailable('The tracker sent no entries. Do client and tracker fit?');
        }
        $entries = array_map($this->api->entry(...), array_values($json['entries']));
        foreach ($entries as $entry) {
            $this->known->keep($entry->key, $entry);
        }

        return [$entries, \is_string($json['next'] ?? null) ? $json['next'] : null];
    }
}
