<?php

declare(strict_types=1);

namespace Cistern\Tests\Unit;

use Cistern\Deadline;
use PHPUnit\Framework\TestCase;

final class DeadlineTest extends TestCase
{
    public function testAWebRequestLosesSoMuchAndNoMore(): void
    {
        $deadline = new Deadline(3.0, false);
        for ($i = 0; $i < 1000; ++$i) {
            $deadline->beginOperation();
            $deadline->answered(0.2);
        }
        self::assertSame(3.0, $deadline->left(), 'swift answers cost nothing');
        $deadline->answered(1.25);
        $deadline->beginOperation();
        self::assertSame(2.0, $deadline->left());
        $deadline->lost(5.0);
        self::assertSame(0.0, $deadline->left());
        $deadline->beginRequest();
        self::assertSame(3.0, $deadline->left());
    }

    public function testOnTheCommandLineEachOperationHasItsOwn(): void
    {
        $deadline = new Deadline(3.0, true);
        $deadline->lost(2.0);
        self::assertSame(1.0, $deadline->left());
        $deadline->beginOperation();
        self::assertSame(3.0, $deadline->left());
    }
}
