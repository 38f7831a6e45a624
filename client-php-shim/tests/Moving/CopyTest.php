<?php

declare(strict_types=1);

namespace Cistern\Tests\Moving;

use Cistern\Client;
use Cistern\Exception\CisternException;
use Cistern\Moving\CopyIn;
use Cistern\Moving\CopyOut;
use Cistern\Moving\Limits;
use Cistern\Moving\LocalTree;
use Cistern\Moving\OldFiles;
use Cistern\Moving\Report;
use Cistern\PutOptions;
use Cistern\Tests\Support\ClusterTestCase;

/**
 * Passes that copy a directory into the store and back, while the site writes one of the two.
 */
final class CopyTest extends ClusterTestCase
{
    use TemporaryDirectory;

    private const LONG_AGO = 1500000000;

    private function in(bool $mirror, Limits $limits = new Limits(), bool $dryRun = false): Report
    {
        return (new CopyIn($this->client(), $this->tree(), 'public', $mirror, $dryRun, $limits))->run();
    }

    private function out(): Report
    {
        return (new CopyOut($this->client(), $this->tree(), 'public'))->run();
    }

    private function tree(): LocalTree
    {
        return new LocalTree($this->directory, true);
    }

    private function old(?Client $client = null): OldFiles
    {
        return new OldFiles($client ?? $this->client(), ['public' => $this->tree()]);
    }

    /**
     * @return list<string> copied, replaced, removed, there, gone, left
     */
    private static function counts(Report $report): array
    {
        $counts = [];
        foreach (['copied', 'replaced', 'removed', 'there', 'gone', 'left'] as $what) {
            if ($report->$what !== 0) {
                $counts[] = "$what {$report->$what}";
            }
        }

        return $counts;
    }

    public function testMirrorsADirectoryThatChangesBetweenThePasses(): void
    {
        for ($i = 0; $i < 30; ++$i) {
            $this->write("many/$i.txt", "text $i", self::LONG_AGO);
        }
        $this->write('odd/ä b#%+?&👋.txt', 'odd', self::LONG_AGO);
        $this->write('empty', '', self::LONG_AGO);
        $this->write('2024', 'a number', self::LONG_AGO);
        $this->write('large.bin', random_bytes(9 * 1048576), self::LONG_AGO);
        $this->write('css/a.css', 'never', self::LONG_AGO);
        chmod("$this->directory/empty", 0o640);
        self::assertSame(['left 34'], self::counts($this->in(true, dryRun: true)));
        self::assertNull($this->client()->stat('public'));
        $report = $this->in(true);
        self::assertSame(['copied 34'], self::counts($report));
        self::assertArrayHasKey('css', $report->skipped);
        self::assertSame(['there 34'], self::counts($this->in(true)));
        $entry = $this->client()->stat('public/empty');
        self::assertSame([0, 0o640, (float) self::LONG_AGO], [$entry?->size, $entry?->mode(), $entry?->mtime]);
        self::assertSame('odd', $this->client()->read('public/odd/ä b#%+?&👋.txt'));
        self::assertSame(hash_file('sha256', "$this->directory/large.bin"), $this->client()->stat('public/large.bin')?->sha256);

        $this->write('many/1.txt', 'other', self::LONG_AGO + 60);
        $this->write('many/new.txt', 'new', self::LONG_AGO);
        touch("$this->directory/many/3.txt", self::LONG_AGO + 60);
        unlink("$this->directory/many/2.txt");
        self::assertSame(['copied 1', 'replaced 1', 'removed 1', 'there 32'], self::counts($this->in(true)));
        self::assertSame('other', $this->client()->read('public/many/1.txt'));
        self::assertNull($this->client()->stat('public/many/2.txt'));
        self::assertSame((float) (self::LONG_AGO + 60), $this->client()->stat('public/many/3.txt')?->mtime);
    }

    public function testSeesAFileThatChangesTwiceWithinASecond(): void
    {
        $this->write('a.txt', 'one');
        $time = (int) filemtime("$this->directory/a.txt");
        $this->in(true);
        $this->write('a.txt', 'two', $time);
        self::assertSame(['replaced 1'], self::counts($this->in(true)));
        self::assertSame('two', $this->client()->read('public/a.txt'));
    }

    public function testStopsAtLimitsAndGoesOn(): void
    {
        for ($i = 0; $i < 10; ++$i) {
            $this->write("$i.txt", 'text', self::LONG_AGO);
        }
        self::assertSame(['copied 4', 'left 6'], self::counts($this->in(true, new Limits(count: 4))));
        self::assertSame(['copied 6', 'there 4'], self::counts($this->in(true)));
        $started = microtime(true);
        foreach (range(0, 9) as $i) {
            $this->write("$i.txt", str_repeat('x', 10000), self::LONG_AGO);
        }
        self::assertSame(['replaced 10'], self::counts($this->in(true, new Limits(bytesPerSecond: 100000.0))));
        self::assertGreaterThan(0.9, microtime(true) - $started);
    }

    public function testDoesNotTakeAnUnmountedDirectoryForADeletedSite(): void
    {
        $this->write('a.txt', 'text', self::LONG_AGO);
        $this->in(true);
        unlink("$this->directory/a.txt");
        try {
            $this->in(true);
            self::fail('It removed everything.');
        } catch (CisternException $e) {
            self::assertStringContainsString('Is it mounted?', $e->getMessage());
        }
        self::assertNotNull($this->client()->stat('public/a.txt'));
    }

    public function testNeverUndoesWhatTheSiteDidInTheStore(): void
    {
        foreach (['kept', 'deleted', 'replaced', 'renamed', 'styles/s/x', 'styles/s/y'] as $name) {
            $this->write("$name.txt", "old $name", self::LONG_AGO);
        }
        $client = $this->client();
        $old = $this->old($client);
        self::assertNotNull($old->find('public/deleted.txt'));
        $old->forget('public/deleted.txt');
        $client->put('public/replaced.txt', 'new');
        self::assertTrue($old->bringIn('public/renamed.txt'));
        $old->forget('public/renamed.txt');
        $client->move('public/renamed.txt', 'public/other.txt');
        $old->forget('public/styles/s');
        self::assertNull($old->find('public/styles/s/x.txt'));
        self::assertSame(['kept.txt', 'replaced.txt', 'styles'], array_keys($old->children('public')));
        self::assertSame(['copied 1', 'there 1', 'gone 4'], self::counts($this->in(false)));
        self::assertSame(['there 2', 'gone 4'], self::counts($this->in(false)));
        self::assertSame('new', $client->read('public/replaced.txt'));
        self::assertSame('old renamed', $client->read('public/other.txt'));
        foreach (['deleted', 'renamed', 'styles/s/x'] as $name) {
            self::assertNull($client->stat("public/$name.txt", true), $name);
        }
        self::assertSame([], iterator_to_array($client->list('.cistern/incoming/public', true)));

        // The way back.
        self::assertSame(['copied 2', 'removed 4', 'there 1'], self::counts($this->out()));
        self::assertSame(['there 3'], self::counts($this->out()));
        $left = [];
        foreach ($this->tree()->files() as $file) {
            $left[$file->path] = (string) file_get_contents($file->local);
        }
        ksort($left);
        self::assertSame(['kept.txt' => 'old kept', 'other.txt' => 'old renamed', 'replaced.txt' => 'new'], $left);
    }

    public function testDoesNotBringBackWhatIsDeletedAtAnyStepOfACopy(): void
    {
        $client = $this->client();
        $old = $this->old($client);
        // A copy was killed, or stands still, after its first step.
        foreach (['before', 'after'] as $name) {
            $this->write("$name.txt", 'old', self::LONG_AGO);
            $client->put(OldFiles::incoming("public/$name.txt"), 'old');
        }
        $old->forget('public/before.txt');
        self::assertNull($client->stat(OldFiles::incoming('public/before.txt'), true));
        $this->expectNotToMove($client, 'public/before.txt');
        // It is moved just before the site deletes it.
        $client->move(OldFiles::incoming('public/after.txt'), 'public/after.txt', false);
        $old->forget('public/after.txt');
        $client->delete('public/after.txt');
        // Its bytes arrive late: the look at the tombstone comes after them.
        $client->put(OldFiles::incoming('public/after.txt'), 'old');
        self::assertFalse($old->bringIn('public/after.txt'));
        self::assertSame(['gone 2'], self::counts($this->in(false)));
    }

    private function expectNotToMove(Client $client, string $key): void
    {
        try {
            $client->move(OldFiles::incoming($key), $key, false);
            self::fail("$key came back.");
        } catch (\Cistern\Exception\NotFound) {
            self::assertNull($client->stat($key, true));
        }
    }

    public function testBringsBackOnlyWholeFilesAndLeavesTheRestAlone(): void
    {
        $client = $this->client();
        $bytes = random_bytes(3 * 1048576);
        $time = new \DateTimeImmutable('@' . self::LONG_AGO);
        $client->put('public/deep/large.bin', $bytes, new PutOptions(mtime: $time, meta: ['mode' => '0640']));
        $client->put('public/.htaccess', 'hidden');
        $client->put('public/2024', 'a number');
        $client->put('public/css/a.css', 'a head has its own');
        $this->write('css/a.css', 'local');
        $this->write('never copied.txt', 'x', self::LONG_AGO);
        $this->write('.cistern-pull-abc', 'half');
        $report = $this->out();
        self::assertSame(['copied 2', 'there 1'], self::counts($report));
        self::assertSame($bytes, file_get_contents("$this->directory/deep/large.bin"));
        $stat = stat("$this->directory/deep/large.bin");
        self::assertSame([self::LONG_AGO, 0o640], [$stat['mtime'] ?? 0, ($stat['mode'] ?? 0) & 0o777]);
        self::assertSame('local', file_get_contents("$this->directory/css/a.css"));
        self::assertFileExists("$this->directory/never copied.txt");
        self::assertFileDoesNotExist("$this->directory/.cistern-pull-abc");
        self::assertFileDoesNotExist("$this->directory/.htaccess");
    }
}
