<?php

declare(strict_types=1);

namespace Cistern\Tests;

use Cistern\Exception\Conflict;
use Cistern\Exception\InvalidRequest;
use Cistern\Exception\NotFound;
use Cistern\Exception\ReadOnlyStore;
use Cistern\Exception\Unauthorized;
use Cistern\PutOptions;
use Cistern\Tests\Support\ClusterTestCase;
use PHPUnit\Framework\Attributes\DataProvider;

final class ClientTest extends ClusterTestCase
{
    public function testStoresAndReadsBackWhatItWasGiven(): void
    {
        $client = $this->client();
        $entry = $client->put('a/b c.txt', 'hello', new PutOptions(
            mtime: new \DateTimeImmutable('2001-02-03T04:05:06.789+01:00'),
            meta: ['mode' => '0640', 'title' => 'Grüße 👋'],
        ));
        self::assertSame('hello', $client->read('a/b c.txt'));
        self::assertSame('a/b c.txt', $entry->key);
        self::assertSame('text/plain', $entry->contentType);
        self::assertSame(5, $entry->size);
        self::assertSame(hash('sha256', 'hello'), $entry->sha256);
        self::assertSame(0o640, $entry->mode());
        self::assertEquals($entry, $this->client()->stat('a/b c.txt'));
        self::assertEqualsWithDelta(981169506.789, $entry->mtime, 0.0005);
        self::assertSame('Grüße 👋', $entry->meta['title']);
        self::assertTrue($client->stat('a')?->isDirectory);
        self::assertNull($client->stat('b'));
    }

    public function testWritesOnlyAsTheEnvironmentThatTheDomainBelongsTo(): void
    {
        $this->client(['environment' => 'prod'])->put('file', 'of prod');
        $stage = $this->client(['environment' => 'stage']);
        foreach ([1, \PHP_INT_MAX] as $directBytes) {
            $other = $this->client(['environment' => 'stage', 'directBytes' => $directBytes]);
            $refused = self::thrown(ReadOnlyStore::class, static fn () => $other->put('file', 'of stage'));
            self::assertStringContainsString("written by the environment 'prod'", $refused->getMessage());
        }
        self::thrown(ReadOnlyStore::class, static fn () => $stage->delete('file'));
        self::assertSame('of prod', $stage->read('file'));
        $this->client()->delete('file');
    }

    /**
     * @return iterable<string, array{int, int}>
     */
    public static function sizes(): iterable
    {
        foreach ([0, 1, 65536, 65537, 262144, 262145, 524289, 3 * 1048576 + 1] as $size) {
            yield "$size bytes, through the tracker" => [$size, \PHP_INT_MAX];
            yield "$size bytes, straight to a node" => [$size, 1];
        }
    }

    #[DataProvider('sizes')]
    public function testKeepsEveryByteOfEverySize(int $size, int $directBytes): void
    {
        $client = $this->client(['directBytes' => $directBytes]);
        $bytes = $size < 1 ? '' : random_bytes($size);
        $stream = fopen('php://temp', 'w+');
        self::assertIsResource($stream);
        fwrite($stream, 'before' . $bytes);
        fseek($stream, 6);
        self::assertSame($size, $client->put('from-stream', $stream)->size);
        self::assertSame($size, $client->put('from-string', $bytes)->size);
        foreach (['from-stream', 'from-string'] as $key) {
            self::assertTrue($client->read($key) === $bytes);
            $opened = $this->client()->open($key);
            $read = '';
            while (!$opened->eof()) {
                $read .= $opened->read(100_000);
            }
            self::assertTrue($read === $bytes);
            self::assertSame('', $opened->read(1));
        }
    }

    public function testKeepsWhatCannotBeRewound(): void
    {
        $pair = stream_socket_pair(\STREAM_PF_UNIX, \STREAM_SOCK_STREAM, 0);
        self::assertIsArray($pair);
        fwrite($pair[0], str_repeat('x', 100_000));
        fclose($pair[0]);
        $client = $this->client(['spoolMemory' => 1000]);
        self::assertSame(100_000, $client->put('socket', $pair[1])->size);
    }

    public function testLargeFilesNeedLittleMemory(): void
    {
        $path = self::bigFile(64);
        $client = $this->client();
        $before = memory_get_peak_usage();
        $entry = $client->putFile('large', $path);
        $stream = $client->open('large');
        $hash = hash_init('sha256');
        while (!$stream->eof()) {
            hash_update($hash, $stream->read(65536));
        }
        self::assertSame(hash_file('sha256', $path), hash_final($hash));
        self::assertSame(64 * 1048576, $entry->size);
        self::assertLessThan(4 * 1048576, memory_get_peak_usage() - $before);
    }

    public function testPutFileRefusesWhatIsNoFile(): void
    {
        self::thrown(InvalidRequest::class, fn () => $this->client()->putFile('x', '/nonexistent'));
        self::thrown(InvalidRequest::class, fn () => $this->client()->putFile('x', '/'));
    }

    public function testConditionsHold(): void
    {
        foreach ([\PHP_INT_MAX, 1] as $directBytes) {
            $client = $this->client(['directBytes' => $directBytes]);
            $key = "conditional-$directBytes";
            $first = $client->put($key, 'one', new PutOptions(ifNoneMatch: true));
            $refused = self::thrown(
                Conflict::class,
                static fn () => $client->put($key, 'two', new PutOptions(ifNoneMatch: true)),
            );
            self::assertSame(412, $refused->getCode());
            $second = $client->put($key, 'two', new PutOptions(ifMatch: $first->etag));
            self::thrown(Conflict::class, static fn () => $client->put($key, '3', new PutOptions(ifMatch: $first->etag)));
            self::thrown(Conflict::class, static fn () => $client->delete($key, $first->etag));
            self::assertSame('two', $client->read($key));
            $client->delete($key, $second->etag);
            self::thrown(Conflict::class, static fn () => $client->put($key, '4', new PutOptions(ifMatch: $first->etag)));
        }
    }

    public function testARepeatGetsTheFirstAnswer(): void
    {
        $client = $this->client();
        $once = new PutOptions(ifNoneMatch: true, idempotencyKey: $this->prefix);
        $first = $client->put('once', 'one', $once);
        self::assertEquals($first, $client->put('once', 'one', $once));
    }

    /**
     * @return iterable<string, array{string}>
     */
    public static function oddKeys(): iterable
    {
        foreach (
            ['a b', 'a+b', '100%', '%2F', 'a#b?c=d&e', 'ü/Ø', '👋.txt', 'a:b', '...', '.htaccess', "tab\tnew\nline",
            'a\\b', "it's \"quoted\"", '~', ';', str_repeat('x', 900)] as $key
        ) {
            yield $key => [$key];
        }
    }

    #[DataProvider('oddKeys')]
    public function testOddKeysComeBackExactly(string $key): void
    {
        $client = $this->client(['statSeconds' => 0.0]);
        $client->put("odd/$key", $key);
        self::assertSame($key, $client->read("odd/$key"));
        self::assertSame("odd/$key", $client->stat("odd/$key")?->key);
        $client->move("odd/$key", "moved/$key");
        foreach ($client->list('moved', true) as $entry) {
            $last = $entry->key;
        }
        self::assertSame("moved/$key", $last ?? null);
        $client->delete("moved/$key");
    }

    /**
     * @return iterable<string, array{string}>
     */
    public static function badKeys(): iterable
    {
        $bad = ['/a', 'a/', 'a//b', '.', 'a/../b', '..', "a\0b", "\xff", str_repeat('x', 1025)];
        foreach ($bad as $i => $key) {
            yield "bad key $i" => [$key];
        }
    }

    #[DataProvider('badKeys')]
    public function testBadKeysAreRefusedWithoutARequest(string $key): void
    {
        $client = $this->client();
        self::thrown(InvalidRequest::class, static fn () => $client->stat($key));
        self::thrown(InvalidRequest::class, static fn () => $client->put($key, 'x'));
        self::thrown(InvalidRequest::class, static fn () => $client->open($key));
        self::thrown(InvalidRequest::class, static fn () => $client->removeDirectory($key, true));
        self::assertSame(0, $client->calls());
    }

    public function testTellsWhyItIsRefused(): void
    {
        $stranger = $this->client(['token' => 'cistern_wrong']);
        $refused = self::thrown(Unauthorized::class, static fn () => $stranger->stat('a'));
        self::assertSame([401, 'not-authenticated'], [$refused->status, $refused->problem]);
        self::assertNotNull($refused->requestId);
        self::assertStringNotContainsString('cistern_wrong', print_r($stranger->options, true) . $refused);
        $elsewhere = $this->client(['domain' => 'other']);
        self::thrown(Unauthorized::class, static fn () => $elsewhere->put('a', 'x'));
        $header = self::thrown(
            InvalidRequest::class,
            fn () => $this->client()->put('a', 'x', new PutOptions("text/plain\r\nX-Evil: 1")),
        );
        self::assertStringContainsString('Content-Type', $header->getMessage());
        self::thrown(InvalidRequest::class, fn () => $this->client()->put('a', 'x', new PutOptions('nonsense')));
        // @phpstan-ignore argument.type (that is the point)
        self::thrown(InvalidRequest::class, fn () => $this->client()->put('a', 5));
    }

    public function testReadOnlyClientsReadOnly(): void
    {
        $this->client()->put('a', 'x');
        $client = $this->client(['readOnly' => true]);
        self::assertSame('x', $client->read('a'));
        foreach (
            [
                static fn () => $client->put('a', 'y'),
                static fn () => $client->delete('a'),
                static fn () => $client->move('a', 'b'),
                static fn () => $client->copy('a', 'b'),
                static fn () => $client->patch('a', 'text/html'),
                static fn () => $client->makeDirectory('d'),
                static fn () => $client->removeDirectory('', true),
            ] as $write
        ) {
            self::thrown(ReadOnlyStore::class, $write);
        }
        self::assertSame('x', $this->client()->read('a'));
    }

    public function testTemporaryUrlsWorkWithoutATokenAndEnd(): void
    {
        $client = $this->client();
        $client->put('a', 'secret');
        $url = $client->temporaryUrl('a', 60);
        self::assertSame('secret', file_get_contents($url));
        self::thrown(NotFound::class, static fn () => $client->temporaryUrl('none', 60));
        self::thrown(InvalidRequest::class, static fn () => $client->temporaryUrl('a', 0));
    }

    public function testHealthLooksAtEveryTracker(): void
    {
        $health = $this->client(['trackers' => [
            ...explode(',', self::environment('CISTERN_TRACKER_URLS')),
            'http://127.0.0.1:9',
        ]])->health();
        $gone = array_pop($health);
        self::assertIsArray($gone);
        self::assertFalse($gone['ready']);
        self::assertNotSame('', $gone['why']);
        self::assertNull($gone['clockOffset']);
        self::assertNotEmpty($health);
        foreach ($health as $one) {
            self::assertSame([true, ''], [$one['ready'], $one['why']]);
            self::assertLessThan(2.0, abs($one['clockOffset'] ?? 99));
        }
    }

    public function testSmallOperationsAreOneRequest(): void
    {
        $client = $this->client(['statSeconds' => 0.0]);
        foreach (
            [
                'put' => static fn () => $client->put('d/a', 'x'),
                'put anew' => static fn () => $client->put('d/b', 'x', new PutOptions(ifNoneMatch: true)),
                'stat' => static fn () => $client->stat('d/a'),
                'read' => static fn () => $client->read('d/a'),
                'list' => static fn () => iterator_to_array($client->list('d', true)),
                'copy' => static fn () => $client->copy('d', 'e'),
                'move' => static fn () => $client->move('e', 'f'),
                'remove' => static fn () => $client->removeDirectory('f', true),
                'delete' => static fn () => $client->delete('d/a'),
            ] as $what => $operation
        ) {
            $before = $client->calls();
            $operation();
            self::assertSame(1, $client->calls() - $before, $what);
        }
    }

    public function testWritesThroughAUnixSocketToo(): void
    {
        $path = sys_get_temp_dir() . '/cistern-test-' . bin2hex(random_bytes(4)) . '.sock';
        $pid = self::forwardSocket($path, explode(',', self::environment('CISTERN_TRACKER_URLS'))[0]);
        try {
            $client = $this->client(['trackers' => ["unix:$path"]]);
            $client->put('a', 'through a socket');
            self::assertSame('through a socket', $client->read('a'));
        } finally {
            posix_kill($pid, \SIGKILL);
            pcntl_waitpid($pid, $status);
            @unlink($path);
        }
    }

    /**
     * A process that passes connections to a Unix socket on to a tracker, one after the other.
     */
    private static function forwardSocket(string $path, string $tracker): int
    {
        $server = stream_socket_server("unix://$path");
        self::assertIsResource($server);
        $pid = pcntl_fork();
        if ($pid !== 0) {
            return $pid;
        }
        while (($client = stream_socket_accept($server, 60)) !== false) {
            $target = stream_socket_client(str_replace('http://', 'tcp://', $tracker));
            while ($target !== false) {
                $ready = [$client, $target];
                $none = null;
                stream_select($ready, $none, $none, 60);
                $from = \in_array($client, $ready, true) ? $client : $target;
                $bytes = (string) fread($from, 65536);
                if ($bytes === '') {
                    break;
                }
                fwrite($from === $client ? $target : $client, $bytes);
            }
        }
        posix_kill((int) getmypid(), \SIGKILL);
        exit;
    }
}
