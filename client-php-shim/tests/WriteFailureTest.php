<?php

declare(strict_types=1);

namespace Cistern\Tests;

use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\ReadOnlyStore;
use Cistern\Exception\Unauthorized;
use Cistern\Exception\Unavailable;
use Cistern\StreamWrapper;
use Cistern\Tests\Support\FaultTestCase;
use PHPUnit\Framework\Attributes\DataProvider;

/**
 * Writes through the stream wrapper that fail: never is that success, and never is half a file stored.
 */
final class WriteFailureTest extends FaultTestCase
{
    protected function tearDown(): void
    {
        StreamWrapper::unregister('cistern');
        parent::tearDown();
    }

    /**
     * @return iterable<string, array{\Closure(): mixed}>
     */
    public static function writes(): iterable
    {
        yield 'file_put_contents' => [static fn () => file_put_contents('cistern://a', 'x')];
        yield 'file_put_contents of nothing' => [static fn () => file_put_contents('cistern://a', '')];
        yield 'fclose' => [static function (): void {
            $handle = fopen('cistern://a', 'w');
            self::assertIsResource($handle);
            fwrite($handle, 'x');
            self::assertTrue(fflush($handle));
            fclose($handle);
        }];
        yield 'copy' => [static fn () => copy(__FILE__, 'cistern://a')];
        yield 'an image' => [static function (): void {
            $image = imagecreatetruecolor(9, 9);
            self::assertNotFalse($image);
            imagepng($image, 'cistern://a');
        }];
        yield 'append' => [static fn () => file_put_contents('cistern://a', 'x', \FILE_APPEND)];
        yield 'unlink' => [static fn () => unlink('cistern://none')];
        yield 'rename' => [static fn () => rename('cistern://none', 'cistern://a')];
        yield 'mkdir' => [static fn () => mkdir('cistern://a')];
        yield 'rmdir' => [static fn () => rmdir('cistern://none')];
        yield 'touch' => [static fn () => touch('cistern://a')];
        yield 'chmod' => [static fn () => chmod('cistern://none', 0o644)];
        yield 'file_exists' => [static fn () => file_exists('cistern://none')];
        yield 'is_dir' => [static fn () => is_dir('cistern://none')];
        yield 'scandir' => [static fn () => scandir('cistern://none')];
        yield 'reading' => [static fn () => file_get_contents('cistern://none')];
    }

    /**
     * @param \Closure(): mixed $write
     */
    #[DataProvider('writes')]
    public function testAnOutageComesOutAsAnException(\Closure $write): void
    {
        self::faultEverywhere(['kind' => 'refuse']);
        StreamWrapper::register('cistern', $this->proxied(['retries' => 0]));
        self::thrown(Unavailable::class, $write);
        self::faultEverywhere(null);
        self::assertNull($this->client()->stat('a'));
    }

    public function testARefusedTokenComesOutAsAnException(): void
    {
        StreamWrapper::register('cistern', $this->client(['token' => 'wrong']));
        self::thrown(Unauthorized::class, static fn () => file_exists('cistern://a'));
        self::thrown(Unauthorized::class, static fn () => file_put_contents('cistern://a', 'x'));
    }

    public function testAReadOnlyStoreRefusesWrites(): void
    {
        $this->client()->put('a', 'x');
        StreamWrapper::register('cistern', $this->client(['readOnly' => true]));
        self::thrown(ReadOnlyStore::class, static fn () => file_put_contents('cistern://a', 'y'));
        self::assertFalse(@unlink('cistern://a'));
        self::assertSame('x', file_get_contents('cistern://a'));
    }

    public function testLargeFilesAreWholeOrNotThere(): void
    {
        $client = $this->proxied(['directBytes' => \PHP_INT_MAX, 'retries' => 0, 'spoolMemory' => 100_000]);
        StreamWrapper::register('cistern', $client);
        $this->client()->put('a', 'before');
        self::faultEverywhere(['kind' => 'reset', 'way' => 'request', 'after' => 1_000_000]);
        $handle = self::opened('w');
        for ($i = 0; $i < 50; ++$i) {
            self::assertSame(100_000, fwrite($handle, str_repeat('x', 100_000)));
        }
        self::thrown(Unavailable::class, static fn () => fclose($handle));
        self::faultEverywhere(null);
        self::assertSame('before', $this->client()->read('a'));
    }

    public function testWhatWasReplacedMeanwhileIsNotOverwrittenByWhoEditsIt(): void
    {
        StreamWrapper::register('cistern', $this->client());
        file_put_contents('cistern://a', 'first');
        $handle = self::opened('r+');
        fwrite($handle, 'F');
        $this->client()->put('a', 'second');
        self::thrown(Conflict::class, static fn () => fclose($handle));
        self::assertSame('second', $this->client()->read('a'));
    }

    public function testOneOfManyGetsANewName(): void
    {
        StreamWrapper::register('cistern', $this->client());
        $first = self::opened('x');
        self::assertFalse(@fopen('cistern://a', 'x'));
        fwrite($first, 'mine');
        fclose($first);
        self::assertSame('mine', file_get_contents('cistern://a'));
    }

    public function testAFullSpoolIsAFailedWrite(): void
    {
        StreamWrapper::register('cistern', $this->client(['spoolDirectory' => '/nonexistent', 'spoolMemory' => 1000]));
        $handle = self::opened('w');
        self::assertSame(900, fwrite($handle, str_repeat('x', 900)));
        self::assertFalse((bool) @fwrite($handle, str_repeat('x', 900)));
        $failure = self::thrown(CisternException::class, static fn () => fclose($handle));
        self::assertStringContainsString('/nonexistent', $failure->getMessage());
        self::assertNull($this->client()->stat('a'));
    }

    public function testNoSpoolFileIsLeftBehind(): void
    {
        $directory = sys_get_temp_dir() . '/cistern-spool-' . bin2hex(random_bytes(4));
        mkdir($directory);
        StreamWrapper::register('cistern', $this->client(['spoolDirectory' => $directory, 'spoolMemory' => 1000]));
        $handle = self::opened('w+');
        fwrite($handle, str_repeat('x', 5000));
        self::assertSame([], array_diff((array) scandir($directory), ['.', '..']));
        rewind($handle);
        self::assertSame(str_repeat('x', 5000), stream_get_contents($handle));
        fclose($handle);
        rmdir($directory);
        self::assertSame(5000, $this->client()->stat('a')?->size);
    }

    /**
     * @return iterable<string, array{string, string|null}>
     */
    public static function ends(): iterable
    {
        $write = '$h = fopen("cistern://a", "w"); fwrite($h, "half"); ';
        $inFunction = 'function f() { $h = fopen("cistern://a", "w"); fwrite($h, "half"); %s } ';
        yield 'the end of the script' => [$write, null];
        yield 'exit' => [$write . 'exit(0);', null];
        yield 'an uncaught exception' => [$write . 'throw new Exception("thrown");', null];
        yield 'an exception in a function' => [\sprintf($inFunction, 'throw new Exception("x");') . 'f();', null];
        yield 'a caught exception' => [
            \sprintf($inFunction, 'throw new Exception("x");') . 'try { f(); } catch (Exception) {}',
            null,
        ];
        yield 'a fatal error' => [$write . 'str_repeat("x", PHP_INT_MAX);', null];
        yield 'too little memory' => ['ini_set("memory_limit", "16M"); ' . $write . '$x = []; while (true) $x[] = $h;', null];
        yield 'exit in a function' => [\sprintf($inFunction, 'exit(0);') . 'f();', null];
        yield 'the end of a function' => [\sprintf($inFunction, '') . 'f();', 'half'];
        yield 'unset' => [$write . 'unset($h);', 'half'];
        yield 'fclose in a shutdown function' => [
            $write . 'register_shutdown_function(function () use ($h) { fclose($h); });',
            'half',
        ];
        yield 'fclose in a destructor' => [
            $write . 'class D { function __construct(public $h) {} function __destruct() { fclose($this->h); } }'
                . '$d = new D($h);',
            'half',
        ];
        yield 'a whole write in a shutdown function' => [
            'register_shutdown_function(function () { file_put_contents("cistern://a", "half"); });',
            'half',
        ];
    }

    #[DataProvider('ends')]
    public function testHowAScriptEndsDecidesWhatIsStored(string $code, ?string $stored): void
    {
        [$printed] = $this->script($code);
        self::assertSame($stored, $this->client()->stat('a') === null ? null : $this->client()->read('a'), $printed);
        if ($stored === null && !str_contains($code, 'function f')) {
            self::assertStringContainsString('was not closed', $printed);
        }
    }

    public function testAKilledProcessStoresNothing(): void
    {
        [, $exit] = $this->script('$h = fopen("cistern://a", "w"); fwrite($h, "half"); posix_kill(getmypid(), SIGKILL);');
        self::assertNotSame(0, $exit);
        self::assertNull($this->client()->stat('a'));
    }

    /**
     * @return resource
     */
    private static function opened(string $mode): mixed
    {
        $handle = fopen('cistern://a', $mode);
        self::assertIsResource($handle);

        return $handle;
    }
}
