<?php

declare(strict_types=1);

namespace Cistern\Tests;

use Cistern\Entry;
use Cistern\Exception\Conflict;
use Cistern\Exception\NotFound;
use Cistern\PutOptions;
use Cistern\Tests\Support\ClusterTestCase;

/**
 * Names: copies, moves, directories, listings, look-ups and what is kept about files.
 */
final class NamesTest extends ClusterTestCase
{
    public function testCopiesMovesAndDeletes(): void
    {
        $client = $this->client();
        $client->put('from/a', 'A', new PutOptions('text/x-a', meta: ['mode' => '0600']));
        $copy = $client->copy('from/a', 'to/b');
        self::assertSame(['to/b', 'text/x-a', 0o600], [$copy->key, $copy->contentType, $copy->mode()]);
        $client->put('from/c', 'C');
        self::thrown(Conflict::class, static fn () => $client->move('from/c', 'to/b', false));
        self::assertSame('A', $client->read('to/b'));
        $client->move('from/c', 'to/b');
        self::assertSame('C', $client->read('to/b'));
        self::assertNull($client->stat('from/c'));
        $moved = $client->move('from', 'elsewhere/deep');
        self::assertTrue($moved->isDirectory);
        self::assertSame('A', $client->read('elsewhere/deep/a'));
        $client->delete('elsewhere/deep/a');
        self::thrown(NotFound::class, static fn () => $client->delete('elsewhere/deep/a'));
        self::thrown(NotFound::class, static fn () => $client->read('elsewhere/deep/a'));
        self::thrown(NotFound::class, static fn () => $client->copy('from', 'anywhere'));
        self::thrown(Conflict::class, static fn () => $client->move('elsewhere', 'elsewhere/deep/er'));
    }

    public function testCopiesAndMovesWantADirectoryIfTheyMakeNone(): void
    {
        $client = $this->client();
        $client->put('a', 'A');
        foreach (['copy', 'move'] as $verb) {
            $place = static fn (string $to, bool $parents): Entry => $verb === 'copy'
                ? $client->copy('a', $to, parents: $parents)
                : $client->move('a', $to, parents: $parents);
            $missing = self::thrown(NotFound::class, static fn () => $place('none/a', false));
            self::assertSame('directory-not-found', $missing->problem);
            self::assertNull($client->stat('none', true));
            self::assertSame("made/by/$verb", $place("made/by/$verb", true)->key);
            $client->copy("made/by/$verb", 'a');
            self::assertSame("made/$verb", $place("made/$verb", false)->key);
        }
    }

    public function testDirectories(): void
    {
        $client = $this->client();
        self::thrown(NotFound::class, static fn () => $client->makeDirectory('a/b', false));
        self::assertSame('a/b', $client->makeDirectory('a/b')->key);
        $client->makeDirectory('a/b');
        self::thrown(Conflict::class, static fn () => $client->makeDirectory('a/b', true, true));
        self::thrown(Conflict::class, static fn () => $client->put('a/b', 'x'));
        self::thrown(Conflict::class, static fn () => $client->read('a/b'));
        self::thrown(Conflict::class, static fn () => $client->removeDirectory('a'));
        $client->put('f', 'x');
        self::thrown(Conflict::class, static fn () => $client->put('f/x', 'x'));
        self::thrown(Conflict::class, static fn () => $client->makeDirectory('f'));
        $client->removeDirectory('a/b');
        $client->removeDirectory('a');
        self::thrown(NotFound::class, static fn () => $client->removeDirectory('a'));
    }

    public function testRemovesSeveralDirectoriesInOneRequest(): void
    {
        $client = $this->client();
        foreach (['a/1/x', 'b/y', 'c/z', 'file'] as $key) {
            $client->put($key, $key);
        }
        $before = $client->calls();
        $client->removeDirectories(['a', 'none', 'b']);
        self::assertSame(1, $client->calls() - $before);
        $keys = ['a/1/x', 'b', 'c/z'];
        self::assertSame([false, false, true], array_map(static fn ($entry) => $entry !== null, array_values($client->statMany($keys))));
        self::thrown(Conflict::class, static fn () => $client->removeDirectories(['c', 'file']));
        self::assertSame('c/z', $client->read('c/z'));
    }

    public function testTheRootIsThereAndCanBeEmptied(): void
    {
        $client = $this->client();
        self::assertSame([], iterator_to_array($client->list('')));
        self::assertTrue($client->stat('')?->isDirectory);
        self::assertSame('', $client->makeDirectory('')->key);
        $client->removeDirectory('', true);
        self::thrown(Conflict::class, static fn () => $client->removeDirectory(''));
        self::thrown(Conflict::class, static fn () => $client->makeDirectory('', true, true));
        $client->put('a/b', 'x');
        $client->removeDirectory('', true);
        self::assertNull($client->stat('a'));
    }

    public function testListsPageByPage(): void
    {
        $client = $this->client();
        $client->put('a/source', 'x');
        // More than a page, made without bytes.
        for ($i = 0; $i < 1001; ++$i) {
            $client->copy('a/source', \sprintf('many/%04d', $i));
        }
        $client->makeDirectory('many/z/empty');
        $before = $client->calls();
        $names = array_map(static fn (Entry $entry): string => $entry->name(), iterator_to_array($client->list('many')));
        self::assertSame(2, $client->calls() - $before);
        self::assertCount(1002, $names);
        self::assertSame(['0000', '1000', 'z'], [$names[0], $names[1000], $names[1001]]);
        $keys = static fn (Entry $entry): string => $entry->key;
        $all = array_map($keys, iterator_to_array($client->list('', true), false));
        self::assertSame(['a', 'many'], array_values(array_filter($all, static fn ($key) => !str_contains($key, '/'))));
        self::assertContains('many/z/empty', $all);
        self::assertCount(1001 + 5, $all);
        // What a listing told needs no look-up.
        $before = $client->calls();
        self::assertFalse($client->stat('many/0500')?->isDirectory);
        self::assertSame(0, $client->calls() - $before);
        self::thrown(NotFound::class, static fn () => $client->list('none'));
        self::thrown(Conflict::class, static fn () => $client->list('a/source'));
    }

    public function testLooksManyUpInOneRequest(): void
    {
        $client = $this->client(['statSeconds' => 0.0]);
        $client->put('a', 'x');
        $keys = ['a', '', 'none'];
        for ($i = 0; $i < 1500; ++$i) {
            $keys[] = "none/$i";
        }
        $before = $client->calls();
        $found = $client->statMany($keys);
        self::assertSame(2, $client->calls() - $before);
        self::assertCount(1503, $found);
        self::assertSame(1, $found['a']?->size);
        self::assertNull($found['none/1499']);
    }

    public function testRemembersLookUpsForAMomentAndSeesOwnWrites(): void
    {
        $client = $this->client(['statSeconds' => 600.0]);
        $other = $this->client();
        self::assertNull($client->stat('a'));
        $looked = microtime(true);
        $other->put('a', 'x');
        $known = $client->statMany(['a'])['a'];
        // A busy machine may need longer than that for the lines above.
        $remembered = $known === null || microtime(true) - $looked > 1.0;
        self::assertTrue($remembered, 'an absence is remembered for up to a second');
        usleep(1_050_000);
        self::assertNotNull($client->stat('a'));
        $other->delete('a');
        self::assertNotNull($client->stat('a'));
        $client->beginRequest();
        self::assertNull($client->stat('a'));
        foreach (
            [
                static fn () => $client->put('a', 'x'),
                static fn () => $client->patch('a', 'text/x-changed'),
                static fn () => $client->copy('a', 'd/b'),
                static fn () => $client->move('d', 'e'),
                static fn () => $client->delete('a'),
                static fn () => $client->makeDirectory('a'),
                static fn () => $client->removeDirectory('e', true),
                static fn () => $client->removeDirectories(['a']),
            ] as $write
        ) {
            $keys = ['a', 'd', 'd/b', 'e', 'e/b'];
            $client->statMany($keys);
            $write();
            self::assertEquals($this->client()->statMany($keys), $client->statMany($keys));
        }
        $before = $client->calls();
        $client->put('new/x', '1');
        $client->stat('new/x');
        self::assertSame(1, $client->calls() - $before);
    }

    public function testPatchChangesWhatItIsToldTo(): void
    {
        $client = $this->client();
        $client->put('a', 'x', new PutOptions('text/plain', meta: ['one' => 1]));
        $entry = $client->patch('a', mtime: new \DateTimeImmutable('@1000000000'));
        self::assertSame(['text/plain', ['one' => 1], 1e9], [$entry->contentType, $entry->meta, $entry->mtime]);
        self::assertSame([], $client->patch('a', meta: [])->meta);
        self::thrown(NotFound::class, static fn () => $client->patch('none', 'text/plain'));
    }
}
