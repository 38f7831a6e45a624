<?php

declare(strict_types=1);

namespace Cistern\Tests\Unit;

use Cistern\Exception\InvalidRequest;
use Cistern\Key;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;

final class KeyTest extends TestCase
{
    /**
     * @return iterable<array{string, string}>
     */
    public static function uris(): iterable
    {
        yield ['public://', ''];
        yield ['public:///', ''];
        yield ['public://a', 'a'];
        yield ['public:///a//b/', 'a/b'];
        yield ['public://a/./b/../c', 'a/c'];
        yield ['a/b', 'a/b'];
        yield ['public://a://b', 'a:/b'];
        yield ['public://...', '...'];
        yield ['public://0', '0'];
    }

    #[DataProvider('uris')]
    public function testReadsUrisAsPeopleWriteThem(string $uri, string $key): void
    {
        self::assertSame($key, Key::ofUri($uri));
    }

    public function testNothingLeadsOutOfTheStore(): void
    {
        $this->expectException(InvalidRequest::class);
        Key::ofUri('public://a/../../b');
    }

    public function testEncodesSegments(): void
    {
        self::assertSame('a%20b/%25%2B%23%3F/%C3%BC~', Key::encode('a b/%+#?/ü~'));
    }

    public function testKnowsParents(): void
    {
        self::assertSame(['', 'a', 'a/b'], [Key::parent('a'), Key::parent('a/b'), Key::parent('a/b/c')]);
    }
}
