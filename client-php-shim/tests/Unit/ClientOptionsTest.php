<?php

declare(strict_types=1);

namespace Cistern\Tests\Unit;

use Cistern\ClientOptions;
use Cistern\Exception\InvalidRequest;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;

final class ClientOptionsTest extends TestCase
{
    public function testTakesAddressesOfAllKinds(): void
    {
        $trackers = ['http://a:7500/', 'https://b', 'unix:/run/cistern.sock', 'http://[::1]:7500'];
        $options = new ClientOptions($trackers, 'd', 't', '/public/');
        self::assertSame('http://a:7500', $options->trackers[0]);
        self::assertCount(4, $options->trackers);
        self::assertSame('public', $options->prefix);
    }

    /**
     * @return iterable<array{array<string>}>
     */
    public static function wrong(): iterable
    {
        yield [[]];
        foreach (['a:7500', 'ftp://a', 'http://', 'http://a/path', 'http://user@a', 'unix:relative', 'http://a b'] as $one) {
            yield [[$one]];
        }
    }

    /**
     * @param array<string> $trackers
     */
    #[DataProvider('wrong')]
    public function testRefusesWhatIsNone(array $trackers): void
    {
        $this->expectException(InvalidRequest::class);
        new ClientOptions($trackers, 'd', 't');
    }

    public function testRefusesImpossibleTimes(): void
    {
        $this->expectException(InvalidRequest::class);
        new ClientOptions(['http://a'], 'd', 't', timeout: 0.0);
    }

    public function testRefusesAnEnvironmentThatIsNoName(): void
    {
        self::assertSame('stage-2', (new ClientOptions(['http://a'], 'd', 't', environment: 'stage-2'))->environment);
        $this->expectException(InvalidRequest::class);
        new ClientOptions(['http://a'], 'd', 't', environment: "stage\n");
    }
}
