<?php

declare(strict_types=1);

namespace Cistern\Tests\Moving;

use Cistern\Exception\Unavailable;
use Cistern\Moving\OldFiles;
use Cistern\Moving\OriginTree;
use Cistern\Tests\Support\ClusterTestCase;

/**
 * Files of another site, read by its public address.
 */
final class OriginTest extends ClusterTestCase
{
    use TemporaryDirectory;

    /** @var resource|null */
    private mixed $server = null;
    private string $url = '';

    protected function setUp(): void
    {
        parent::setUp();
        $this->write('site/a b#ä.jpg', 'an image', 1500000000);
        $this->write('site/styles/s/a.jpg', 'a derivative');
        $this->write('site/.hidden.txt', 'hidden');
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        self::assertIsResource($socket);
        $address = (string) stream_socket_get_name($socket, false);
        fclose($socket);
        // A list of words: no shell stands between.
        $command = [\PHP_BINARY, '-S', $address, '-t', "$this->directory/site"];
        $server = proc_open($command, [1 => ['file', '/dev/null', 'w'], 2 => ['file', '/dev/null', 'w']], $pipes);
        self::assertIsResource($server);
        $this->server = $server;
        $this->url = "http://$address";
        $port = (int) parse_url($this->url, \PHP_URL_PORT);
        for ($i = 0; $i < 500 && @fsockopen('127.0.0.1', $port) === false; ++$i) {
            usleep(20000);
        }
    }

    protected function tearDown(): void
    {
        $this->endServer();
        parent::tearDown();
    }

    private function endServer(): void
    {
        if ($this->server !== null) {
            proc_terminate($this->server, 9);
            proc_close($this->server);
            $this->server = null;
        }
    }

    public function testReadsAndKeepsWithoutStoring(): void
    {
        $client = $this->client();
        $origin = new OldFiles($client, ['public' => new OriginTree($this->url, "$this->directory/kept")]);
        $file = $origin->find('public/a b#ä.jpg');
        self::assertSame('an image', (string) file_get_contents($file->local ?? ''));
        self::assertSame(8, $file?->size);
        foreach (['none.jpg', 'styles/s/a.jpg', '.hidden.txt', 'site', ''] as $path) {
            self::assertNull($origin->find(rtrim("public/$path", '/')), $path);
        }
        self::assertSame([], $origin->children('public'));
        self::assertNull($client->stat('public', true), 'nothing is stored');
        // It needs the other site only once, and is deleted here alone.
        $this->endServer();
        self::assertNotNull($origin->find('public/a b#ä.jpg'));
        $origin->forget('public/a b#ä.jpg');
        self::assertNull($origin->find('public/a b#ä.jpg'));
    }

    public function testDoesNotTakeASiteThatIsAwayForOneWithoutFiles(): void
    {
        $this->endServer();
        $this->expectException(Unavailable::class);
        (new OriginTree($this->url, "$this->directory/kept", 2.0))->find('a.jpg');
    }
}
