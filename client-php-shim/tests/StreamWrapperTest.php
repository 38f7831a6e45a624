<?php

declare(strict_types=1);

namespace Cistern\Tests;

use Cistern\Exception\InvalidRequest;
use Cistern\StreamWrapper;
use Cistern\Tests\Support\WrapperTestCase;
use PHPUnit\Framework\Attributes\DataProvider;

/**
 * Files that are opened: modes, positions, bytes, and which URIs mean one.
 */
final class StreamWrapperTest extends WrapperTestCase
{
    public function testTheThreeLinesOfTheManual(): void
    {
        file_put_contents('cistern://a/b.txt', 'hello');
        self::assertSame('hello', file_get_contents('cistern://a/b.txt'));
    }

    /**
     * @return iterable<string, array{string, string|null}>
     */
    public static function modes(): iterable
    {
        foreach (['r', 'w', 'a', 'x', 'c'] as $kind) {
            foreach (['', '+', 'b', '+b', 't', 'b+'] as $flags) {
                foreach (['a file' => 'what was here before', 'nothing' => null, 'an empty file' => ''] as $what => $there) {
                    yield "$kind$flags on $what" => [$kind . $flags, $there];
                }
            }
        }
    }

    #[DataProvider('modes')]
    public function testModesDoWhatTheyDoLocally(string $mode, ?string $there): void
    {
        $this->same(static function (string $directory) use ($mode, $there): array {
            $file = $directory . 'file';
            if ($there !== null) {
                file_put_contents($file, $there);
            }
            $handle = fopen($file, $mode);
            if ($handle === false) {
                return [false, file_exists($file)];
            }
            $seen = [ftell($handle), fread($handle, 4), ftell($handle), feof($handle)];
            $seen[] = fwrite($handle, 'NEW') > 0;
            $seen[] = fseek($handle, 1);
            $seen[] = fread($handle, 5);
            $seen[] = fseek($handle, -2, \SEEK_END);
            $seen[] = fwrite($handle, 'END') > 0;
            $seen[] = rewind($handle);
            $seen[] = stream_get_contents($handle);
            $seen[] = fclose($handle);
            $seen[] = file_get_contents($file);

            return $seen;
        });
    }

    #[DataProvider('modes')]
    public function testOpeningAndClosingDoesWhatItDoesLocally(string $mode, ?string $there): void
    {
        $this->same(static function (string $directory) use ($mode, $there): array {
            $file = $directory . 'd/file';
            mkdir($directory . 'd');
            if ($there !== null) {
                file_put_contents($file, $there);
            }
            $handle = fopen($file, $mode);

            return [$handle !== false && fclose($handle), file_exists($file) ? file_get_contents($file) : null];
        });
    }

    public function testTruncatesAndSeeksBeyondTheEnd(): void
    {
        $this->same(static function (string $directory): array {
            $file = $directory . 'file';
            file_put_contents($file, '0123456789');
            $handle = fopen($file, 'r+');
            self::assertIsResource($handle);
            $seen = [ftruncate($handle, 4), ftell($handle), fstat($handle)['size'] ?? null];
            $seen[] = fseek($handle, 8);
            $seen[] = fwrite($handle, 'x');
            $seen[] = ftruncate($handle, 5000);
            fclose($handle);
            $seen[] = file_get_contents($file);
            foreach (['r', 'a+', 'w+', 'c+'] as $mode) {
                $handle = fopen($file, $mode);
                self::assertIsResource($handle);
                $seen[] = [$mode, @ftruncate($handle, 3), fclose($handle), file_get_contents($file)];
            }
            // Only truncated, never written to.
            file_put_contents($file, 'abcdef');
            $handle = fopen($file, 'r+');
            self::assertIsResource($handle);
            ftruncate($handle, 0);
            fclose($handle);
            $seen[] = file_get_contents($file);

            return $seen;
        });
    }

    public function testReadsAsLocalFilesAreRead(): void
    {
        $bytes = random_bytes(700_000);
        $this->same(static function (string $directory) use ($bytes): array {
            file_put_contents($directory . 'file', $bytes);
            $handle = fopen($directory . 'file', 'rb');
            self::assertIsResource($handle);
            $seen = [];
            $seeks = [[0, 10], [-20, 30], [300_000, 9000], [1000, 10], [699_999, 5], [700_000, 5], [800_000, 5], [5, 400_000]];
            foreach ($seeks as [$at, $length]) {
                $seen[] = fseek($handle, $at, $at < 0 ? \SEEK_END : \SEEK_SET);
                $seen[] = md5((string) stream_get_contents($handle, $length));
                $seen[] = ftell($handle);
                $seen[] = feof($handle);
            }
            fclose($handle);

            return [...$seen, filesize($directory . 'file'), md5_file($directory . 'file')];
        });
    }

    public function testLinesCsvAndSplFileObjectWork(): void
    {
        $this->same(static function (string $directory): array {
            $handle = fopen($directory . 'a.csv', 'w');
            self::assertIsResource($handle);
            fputcsv($handle, ['a', 'b "c"'], escape: '');
            fputcsv($handle, ['1', "two\nlines"], escape: '');
            fclose($handle);
            $object = new \SplFileObject($directory . 'a.csv', 'a+');
            $object->fwrite("end\n");
            unset($object);

            return [file($directory . 'a.csv'), iterator_to_array(new \SplFileObject($directory . 'a.csv'))];
        });
    }

    public function testUriFormsMeanOneFile(): void
    {
        file_put_contents('cistern:///a//./b/../c.txt', 'x');
        foreach (['cistern://a/c.txt', 'cistern:///a/c.txt', 'cistern://a/c.txt/', 'cistern://x/../a/c.txt'] as $uri) {
            self::assertTrue(is_file($uri), $uri);
        }
        self::assertTrue($this->client->stat('a/c.txt')?->isFile());
        self::assertFalse(file_exists('cistern://../etc/passwd'));
        foreach (['100%.txt', 'a b#c?d=e&f+g', 'ü👋', 'a:b'] as $odd) {
            file_put_contents("cistern://odd/$odd", $odd);
            self::assertSame($odd, file_get_contents("cistern://odd/$odd"));
        }
        self::assertCount(4, (array) scandir('cistern://odd'));
    }

    public function testLocksAndOptionsAreAnsweredHonestlyAndQuietly(): void
    {
        $handle = fopen('cistern://a', 'w+');
        self::assertIsResource($handle);
        self::assertFalse(flock($handle, \LOCK_EX));
        self::assertFalse(stream_set_blocking($handle, false));
        self::assertFalse(stream_set_timeout($handle, 1));
        self::assertSame(-1, stream_set_write_buffer($handle, 0));
        self::assertTrue(fflush($handle));
        fclose($handle);
    }

    public function testImagesAreReadByTheirHeadAndWritten(): void
    {
        $image = imagecreatetruecolor(40, 30);
        self::assertNotFalse($image);
        self::assertTrue(imagepng($image, 'cistern://i.png'));
        $png = (string) file_get_contents('cistern://i.png');
        file_put_contents('cistern://padded.png', $png . random_bytes(3 * 1048576));
        $before = $this->client->calls();
        self::assertSame([40, 30], \array_slice((array) getimagesize('cistern://padded.png'), 0, 2));
        self::assertSame(1, $this->client->calls() - $before);
        self::assertNotFalse(imagecreatefrompng('cistern://i.png'));
        self::assertSame('image/png', mime_content_type('cistern://i.png'));
    }

    public function testProtocolsAreRegisteredOnce(): void
    {
        self::thrown(InvalidRequest::class, fn () => StreamWrapper::register('file', $this->client));
        self::thrown(InvalidRequest::class, fn () => StreamWrapper::register('x', $this->client));
        self::thrown(InvalidRequest::class, fn () => StreamWrapper::register('a b', $this->client));
        $other = $this->client(['prefix' => $this->prefix . '/other']);
        StreamWrapper::register('cistern', $other);
        file_put_contents('cistern://a', 'x');
        self::assertNotNull($this->client->stat('other/a'));
    }

    public function testCodeIsNotIncludedFromTheStore(): void
    {
        file_put_contents('cistern://code.php', '<?php return "included";');
        // @phpstan-ignore include.fileNotFound (it is not on a disk)
        self::assertFalse(@include 'cistern://code.php');
        [$printed, $exit] = $this->script('echo "never";', 'allow_url_fopen=0');
        self::assertStringContainsString('allow_url_fopen', $printed);
        self::assertNotSame(0, $exit);
    }

    public function testSeveralAppendAtOnceAndNothingIsLost(): void
    {
        file_put_contents('cistern://log', '');
        $children = [];
        foreach (range(1, 4) as $writer) {
            $children[] = proc_open([\PHP_BINARY, '-r', self::appender($writer, $this->prefix)], [2 => ['file', '/dev/null', 'w']], $pipes);
        }
        foreach ($children as $child) {
            self::assertIsResource($child);
            self::assertSame(0, proc_close($child));
        }
        $this->client->beginRequest();
        $lines = explode("\n", trim((string) file_get_contents('cistern://log')));
        sort($lines);
        $expected = [];
        foreach (range(1, 4) as $writer) {
            foreach (range(1, 5) as $i) {
                $expected[] = "$writer-$i";
            }
        }
        self::assertSame($expected, $lines);
    }

    private static function appender(int $writer, string $prefix): string
    {
        return 'require ' . var_export(\dirname(__DIR__) . '/vendor/autoload.php', true) . ';'
            . 'Cistern\StreamWrapper::register("cistern", new Cistern\Client(new Cistern\ClientOptions('
            . 'explode(",", getenv("CISTERN_TRACKER_URLS")), getenv("CISTERN_DOMAIN"), getenv("CISTERN_TOKEN"), '
            . var_export($prefix, true) . ')));'
            . 'foreach (range(1, 5) as $i) file_put_contents("cistern://log", "' . $writer . '-$i\n", FILE_APPEND);';
    }
}
