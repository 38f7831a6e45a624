<?php

declare(strict_types=1);

namespace Cistern\Tests\Unit;

use Cistern\CircuitBreaker;
use PHPUnit\Framework\TestCase;

final class CircuitBreakerTest extends TestCase
{
    private const SERVER = 'http://one';

    protected function setUp(): void
    {
        (new \ReflectionProperty(CircuitBreaker::class, 'records'))->setValue(null, []);
    }

    public function testOneThatRefusesIsOnlySuspect(): void
    {
        $breaker = new CircuitBreaker();
        self::assertFalse($breaker->isSuspect(self::SERVER));
        $breaker->failed(self::SERVER, false);
        self::assertTrue($breaker->isSuspect(self::SERVER));
        self::assertFalse($breaker->isOpen(self::SERVER));
        $breaker->succeeded(self::SERVER);
        self::assertFalse($breaker->isSuspect(self::SERVER));
    }

    public function testOneThatHungIsLeftAloneForLongerEachTime(): void
    {
        $breaker = new CircuitBreaker();
        $until = [];
        for ($i = 0; $i < 8; ++$i) {
            $breaker->failed(self::SERVER, true);
            self::assertTrue($breaker->isOpen(self::SERVER));
            /** @var array<string, array{until: float}> $records */
            $records = (new \ReflectionProperty(CircuitBreaker::class, 'records'))->getValue();
            $until[] = round($records[self::SERVER]['until'] - microtime(true));
        }
        self::assertSame([3.0, 6.0, 12.0, 24.0, 30.0, 30.0, 30.0, 30.0], $until);
        self::assertFalse((new CircuitBreaker())->isOpen('http://other'));
    }

    public function testAfterThatItIsTried(): void
    {
        $breaker = new CircuitBreaker();
        $record = ['until' => microtime(true) - 1, 'failures' => 1, 'hung' => true];
        (new \ReflectionProperty(CircuitBreaker::class, 'records'))->setValue(null, [self::SERVER => $record]);
        self::assertFalse($breaker->isOpen(self::SERVER));
        self::assertTrue($breaker->isProbe(self::SERVER));
        self::assertTrue($breaker->mayProbe(self::SERVER));
    }
}
