<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\Unavailable;

/**
 * Names: looked up, copied, moved, deleted, and what is kept about them changed. The client's methods say what each
 * does.
 *
 * @internal
 */
final class Names
{
    /** Keys that a tracker looks up in one request. */
    private const MANY = 1000;

    public function __construct(private readonly Api $api, private readonly StatCache $known)
    {
    }

    /**
     * @param array<string> $keys
     *
     * @throws CisternException
     * @return array<string, Entry|null> by key
     */
    public function look(array $keys, bool $fresh): array
    {
        $found = $unknown = [];
        foreach ($keys as $key) {
            // The root is there by definition, also where nothing was stored yet.
            $entry = $key === '' ? new Entry('', true, 0.0) : ($fresh ? false : $this->known->find($key));
            $found[$key] = $entry === false ? null : $entry;
            if ($entry === false) {
                $unknown[] = $key;
            }
        }
        foreach (array_chunk($unknown, self::MANY) as $chunk) {
            $asked = array_map($this->api->absolute(...), $chunk);
            $entries = $this->api->json('POST', 'stat', ['keys' => $asked])['entries'] ?? null;
            if (!\is_array($entries) || \count($entries) !== \count($chunk)) {
                throw new Unavailable('The tracker did not answer for every key. Do client and tracker fit?');
            }
            foreach ($chunk as $i => $key) {
                $found[$key] = $entries[$i] === null ? null : $this->api->entry($entries[$i]);
                $this->known->keep($key, $found[$key]);
            }
        }

        return $found;
    }

    /**
     * Looks whether a write with these conditions would be refused as things are now.
     *
     * @throws Conflict|CisternException
     */
    public function checkConditions(string $key, PutOptions $options): void
    {
        $there = $this->look([$key], true)[$key];
        if ($options->ifNoneMatch && $there !== null || $options->ifMatch !== null && $there === null) {
            $what = $there === null ? 'does not exist' : 'exists';
            throw new Conflict("'$key' $what.", 'precondition-failed', 412);
        }
    }

    /**
     * @param 'copy'|'move' $verb
     *
     * @throws CisternException
     */
    public function relocate(string $verb, string $from, string $to, bool $overwrite, bool $parents): Entry
    {
        $json = ['from' => $this->api->writable($from), 'to' => $this->api->writable($to)];
        if (!$parents) {
            $json['parents'] = false;
        }
        $source = $this->known->find($from);
        foreach ([$from, $to] as $key) {
            $this->known->forget($key);
        }
        $headers = Api::idempotency() + ($overwrite ? [] : ['If-None-Match' => '*']);
        $entry = $this->api->entry($this->api->json('POST', $verb, $json, $headers));
        if ($entry->isDirectory) {
            $this->known->forgetAll();
        }
        $this->known->made($entry);
        if ($verb === 'move' && $from !== $to) {
            $this->known->keep($from, null);
        } elseif ($source !== false) {
            $this->known->keep($from, $source);
        }

        return $entry;
    }

    /**
     * @throws CisternException
     */
    public function delete(string $key, ?string $ifMatch): void
    {
        $path = $this->api->writable($key);
        $this->known->forget($key);
        $headers = Api::idempotency() + ($ifMatch === null ? [] : ['If-Match' => $ifMatch]);
        $this->api->send('DELETE', 'files/' . Key::encode($path), null, $headers);
        $this->known->keep($key, null);
    }

    /**
     * @param array<string, mixed>|null $meta
     *
     * @throws CisternException
     */
    public function patch(string $key, ?string $contentType, ?\DateTimeInterface $mtime, ?array $meta): Entry
    {
        $path = $this->api->writable($key);
        $this->known->forget($key);
        $change = array_filter([
            'contentType' => $contentType,
            'mtime' => $mtime === null ? null : Api::time($mtime),
            'meta' => $meta === null ? null : (object) $meta,
        ], static fn (mixed $value): bool => $value !== null);
        $entry = $this->api->entry($this->api->json('PATCH', 'files/' . Key::encode($path), (object) $change));
        $this->known->keep($key, $entry);

        return $entry;
    }
}
