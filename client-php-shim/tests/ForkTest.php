<?php

declare(strict_types=1);

namespace Cistern\Tests;

use Cistern\Tests\Support\ClusterTestCase;

/**
 * A process that forks while connections stand: neither side reads what is meant for the other.
 */
final class ForkTest extends ClusterTestCase
{
    public function testParentAndChildrenGoOnWithOneClient(): void
    {
        $bytes = random_bytes(3_000_000);
        $client = $this->client(['statSeconds' => 0.0]);
        $client->put('large', $bytes);
        $stream = $client->open('large');
        // The connection stands in the middle of the file.
        $head = '';
        while (\strlen($head) < 700_000) {
            $head .= $stream->read(300_000);
        }
        $children = [];
        for ($child = 0; $child < 3; ++$child) {
            $pid = pcntl_fork();
            if ($pid === 0) {
                $well = true;
                try {
                    $read = $head;
                    while (!$stream->eof()) {
                        $read .= $stream->read(70_000);
                    }
                    $well = $read === $bytes;
                    for ($i = 0; $i < 20; ++$i) {
                        $client->put("$child/$i", "$child $i");
                        $well = $well && $client->read("$child/$i") === "$child $i" && $client->stat("$child/$i") !== null;
                    }
                } catch (\Throwable $e) {
                    fwrite(\STDERR, (string) $e);
                    $well = false;
                }
                // PHPUnit's own end is not for children.
                posix_kill((int) getmypid(), $well ? \SIGTERM : \SIGKILL);
            }
            $children[] = $pid;
        }
        for ($i = 0; $i < 20; ++$i) {
            $client->put("parent/$i", "parent $i");
            self::assertSame("parent $i", $client->read("parent/$i"));
        }
        while (!$stream->eof()) {
            $head .= $stream->read(70_000);
        }
        self::assertTrue($head === $bytes);
        foreach ($children as $pid) {
            pcntl_waitpid($pid, $status);
            self::assertIsInt($status);
            self::assertSame(\SIGTERM, pcntl_wtermsig($status));
        }
        self::assertCount(20, iterator_to_array($client->list('2')));
    }
}
