<?php

declare(strict_types=1);

namespace Cistern\Tests;

use Cistern\Exception\Conflict;
use Cistern\Exception\Corrupt;
use Cistern\Exception\NotFound;
use Cistern\Exception\Unavailable;
use Cistern\PutOptions;
use Cistern\Tests\Support\FaultTestCase;
use PHPUnit\Framework\Attributes\DataProvider;

/**
 * The client between trackers that are away, slow, cut off in the middle, or lie.
 */
final class FaultTest extends FaultTestCase
{
    private const IN_THE_BODY = 500;

    /**
     * @return iterable<string, array{array{kind: string, way?: string, after?: int, delay?: int}}>
     */
    public static function faults(): iterable
    {
        yield 'refused' => [['kind' => 'refuse']];
        yield 'reset at once' => [['kind' => 'reset', 'way' => 'request']];
        yield 'answer lost by a reset' => [['kind' => 'reset']];
        yield 'answer cut in its head' => [['kind' => 'end', 'after' => 40]];
        yield 'answer cut in its body' => [['kind' => 'reset', 'after' => self::IN_THE_BODY]];
        yield 'hanging, request lost' => [['kind' => 'stall', 'way' => 'request']];
        yield 'hanging, answer lost' => [['kind' => 'stall']];
        yield 'hanging in the answer' => [['kind' => 'stall', 'after' => 100]];
        yield 'late' => [['kind' => 'delay', 'delay' => 5000]];
    }

    /**
     * @param array{kind: string, way?: string, after?: int, delay?: int} $fault
     */
    #[DataProvider('faults')]
    public function testOneTrackerOfTwoInTroubleIsNotSeen(array $fault): void
    {
        self::fault(0, $fault);
        $before = $this->client();
        $before->put('there', 'x');
        // Clients begin at random with one of the trackers: enough of them meet the bad one.
        for ($i = 0; $i < 4; ++$i) {
            $client = $this->proxied(['statSeconds' => 0.0]);
            $client->put("a/$i", "a$i", new PutOptions(ifNoneMatch: true));
            self::assertSame("a$i", $client->read("a/$i"));
            $client->makeDirectory("d/$i", true, true);
            $client->move("d/$i", "e/$i", false);
            $client->removeDirectory("e/$i");
            $client->copy("a/$i", "b/$i", false);
            $client->delete("b/$i");
            self::assertNull($client->stat("b/$i"));
            self::assertNotNull($client->stat('there'));
            self::assertNotEmpty(iterator_to_array($client->list('a')));
            self::thrown(NotFound::class, static fn () => $client->read('none'));
            self::thrown(Conflict::class, static fn () => $client->put('there', 'y', new PutOptions(ifNoneMatch: true)));
        }
    }

    /**
     * @param array{kind: string, way?: string, after?: int, delay?: int} $fault
     */
    #[DataProvider('faults')]
    public function testAnOutageIsNeverAnAbsence(array $fault): void
    {
        $this->client()->put('there', 'x');
        if (($fault['after'] ?? 0) === self::IN_THE_BODY) {
            // Most answers are shorter.
            $fault['after'] = 200;
        }
        self::faultEverywhere($fault);
        $client = $this->proxied(['timeout' => 0.5, 'retries' => 1]);
        foreach (
            [
                static fn () => $client->stat('there'),
                static fn () => $client->stat('none'),
                static fn () => $client->statMany(['there', 'none']),
                static fn () => $client->open('there'),
                static fn () => $client->list('')->current(),
                static fn () => $client->put('there', 'y'),
                static fn () => $client->delete('none'),
                static fn () => $client->move('there', 'elsewhere'),
                static fn () => $client->removeDirectory('none'),
                static fn () => $client->temporaryUrl('none', 10),
            ] as $operation
        ) {
            self::thrown(Unavailable::class, $operation);
        }
        self::assertStringContainsString('warning', implode("\n", $this->logged));
        // It works again by itself; who hung is asked again after some seconds.
        self::faultEverywhere(null);
        $deadline = microtime(true) + 40;
        while (true) {
            try {
                self::assertNull($client->stat('none', true));
                break;
            } catch (Unavailable $e) {
                self::assertLessThan($deadline, microtime(true), $e->getMessage());
                usleep(100_000);
            }
        }
    }

    public function testALostAnswerIsNotDoneTwice(): void
    {
        // The tracker does it, and its answer is lost; the repeat must not find its own work in the way.
        self::fault(0, ['kind' => 'reset', 'times' => 1]);
        $client = $this->proxied(['trackers' => [self::proxies()[0]]]);
        $client->put('a', 'mine', new PutOptions(ifNoneMatch: true));
        self::assertSame('mine', $client->read('a'));
        self::fault(0, ['kind' => 'reset', 'times' => 1]);
        $client->move('a', 'b', false);
        self::fault(0, ['kind' => 'reset', 'times' => 1]);
        $client->makeDirectory('d', true, true);
        self::fault(0, ['kind' => 'reset', 'times' => 1]);
        $client->removeDirectory('d');
        self::fault(0, ['kind' => 'reset', 'times' => 1]);
        $client->delete('b');
        self::assertNull($client->stat('b', true));
    }

    /**
     * @return iterable<string, array{array{kind: string, after: int}}>
     */
    public static function cuts(): iterable
    {
        foreach (['end', 'reset', 'stall'] as $kind) {
            yield $kind => [['kind' => $kind, 'after' => 1_500_000]];
        }
    }

    /**
     * @param array{kind: string, after: int} $cut
     */
    #[DataProvider('cuts')]
    public function testReadingGoesOnAtTheByteWhereItBroke(array $cut): void
    {
        $bytes = random_bytes(6_000_000);
        $this->client()->put('large', $bytes);
        self::fault(0, $cut);
        for ($i = 0; $i < 3; ++$i) {
            $stream = $this->proxied()->open('large');
            $read = '';
            while (!$stream->eof()) {
                $read .= $stream->read(50_000);
            }
            self::assertTrue($read === $bytes);
        }
        // Also where each connection breaks again, but none at once.
        self::faultEverywhere(['kind' => 'end', 'after' => 1_500_000]);
        self::assertTrue($this->proxied()->read('large') === $bytes);
    }

    public function testATruncatedReadIsNeverAWholeFile(): void
    {
        $this->client()->put('large', random_bytes(3_000_000));
        self::faultEverywhere(['kind' => 'end', 'after' => 1_000_000]);
        $client = $this->proxied();
        $stream = $client->open('large');
        $stream->read(100_000);
        self::faultEverywhere(['kind' => 'refuse']);
        self::thrown(Unavailable::class, static function () use ($stream): void {
            while ($stream->read(100_000) !== '') {
                // Goes on until it breaks.
            }
        });
        self::assertFalse($stream->eof());
        self::thrown(Unavailable::class, static fn () => $stream->read(1));
    }

    public function testDamagedBytesAreNotTakenForGoodOnes(): void
    {
        $this->client()->put('large', str_repeat('x', 3_000_000));
        self::faultEverywhere(['kind' => 'damage', 'after' => 2_000_000]);
        self::thrown(Corrupt::class, fn () => $this->proxied()->read('large'));
        self::faultEverywhere(['kind' => 'damage', 'way' => 'request', 'after' => 20_000]);
        self::thrown(Corrupt::class, fn () => $this->proxied()->put('new', str_repeat('y', 100_000)));
        self::assertNull($this->client()->stat('new'));
    }

    public function testAFileThatIsReplacedOrDeletedWhileItIsReadIsNotMixed(): void
    {
        $client = $this->client();
        $client->put('large', random_bytes(3_000_000));
        $replaced = $client->open('large');
        $deleted = $client->open('large');
        $client->put('large', random_bytes(3_000_000));
        $replaced->seek(2_000_000);
        self::thrown(Conflict::class, static fn () => $replaced->read(10));
        $client->delete('large');
        $deleted->seek(2_000_000);
        self::thrown(NotFound::class, static fn () => $deleted->read(10));
    }

    public function testUploadsThatBreakAreSentAgain(): void
    {
        $path = self::bigFile(12);
        foreach ([\PHP_INT_MAX, 1] as $directBytes) {
            foreach (['reset', 'stall'] as $kind) {
                self::fault(0, ['kind' => $kind, 'way' => 'request', 'after' => 400_000, 'times' => 1]);
                for ($i = 0; $i < 2; ++$i) {
                    $entry = $this->proxied(['directBytes' => $directBytes])->putFile("up-$i", $path);
                    self::assertSame(hash_file('sha256', $path), $entry->sha256);
                }
            }
        }
    }

    public function testAHangingTrackerCostsItsTimeOnce(): void
    {
        self::faultEverywhere(['kind' => 'stall']);
        $started = microtime(true);
        for ($i = 0; $i < 50; ++$i) {
            self::thrown(Unavailable::class, fn () => $this->proxied()->stat('a'));
        }
        // Two trackers, a second each; then both are known, until one is tried again.
        self::assertLessThan(8.0, microtime(true) - $started);
    }

    public function testARefusingTrackerIsAskedAgainAtOnce(): void
    {
        self::faultEverywhere(['kind' => 'refuse']);
        $client = $this->proxied();
        self::thrown(Unavailable::class, static fn () => $client->stat('a'));
        self::faultEverywhere(null);
        self::assertNull($client->stat('a'));
    }

    public function testSurvivesTheDeathOfTrackersAndNodesInTheMiddle(): void
    {
        $client = $this->client(['statSeconds' => 0.0]);
        $large = random_bytes(20_000_000);
        $client->put('large', $large);
        $client->put('small', 'small');
        foreach (['h1', 'tracker-1', 'h2', 'tracker-2'] as $victim) {
            $readers = array_map(fn () => $this->client()->open('large'), range(1, 4));
            $read = array_map(static fn ($reader) => $reader->read(100_000), $readers);
            self::kill($victim);
            foreach ($readers as $i => $reader) {
                while (!$reader->eof()) {
                    $read[$i] .= $reader->read(500_000);
                }
                self::assertTrue($read[$i] === $large);
            }
            for ($i = 0; $i < 5; ++$i) {
                $one = $this->client();
                $one->put("$victim/$i", "$victim $i", new PutOptions(ifNoneMatch: true));
                self::assertSame("$victim $i", $one->read("$victim/$i"));
                self::assertSame('small', $one->read('small'));
                $one->put("$victim/large-$i", $large);
            }
            self::start($victim);
            self::assertCount(10, iterator_to_array($client->list($victim)));
        }
    }
}
