<?php

declare(strict_types=1);

namespace Cistern\Tests;

use Cistern\Client;
use Cistern\Exception\InvalidRequest;
use Cistern\StreamWrapper;
use Cistern\Tests\Support\ClusterTestCase;
use PHPUnit\Framework\Attributes\DataProvider;

/**
 * What PHP's own functions do on cistern:// is compared with what they do on a local directory, wherever both can do it.
 */
final class StreamWrapperTest extends ClusterTestCase
{
    private Client $client;
    private string $local = '';

    protected function setUp(): void
    {
        parent::setUp();
        $this->client = $this->client(['spoolMemory' => 1000]);
        StreamWrapper::register('cistern', $this->client);
        $this->local = sys_get_temp_dir() . '/cistern-test-' . bin2hex(random_bytes(6));
        mkdir($this->local);
    }

    protected function tearDown(): void
    {
        StreamWrapper::unregister('cistern');
        exec('rm -r ' . escapeshellarg($this->local));
        parent::tearDown();
    }

    /**
     * Does the same in both places and compares what came of it; warnings are told apart only by their number.
     *
     * @param \Closure(string): mixed $do is given the directory, with its slash
     */
    private function same(\Closure $do): mixed
    {
        clearstatcache();
        [$expected, $found] = array_map(static function (string $directory) use ($do): array {
            $warnings = 0;
            set_error_handler(static function () use (&$warnings): bool {
                ++$warnings;

                return true;
            });
            try {
                return [$do($directory), $warnings > 0];
            } finally {
                restore_error_handler();
            }
        }, ["$this->local/", 'cistern://']);
        self::assertSame($expected, $found);

        return $found[0];
    }

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

    public function testCopyRenameUnlinkAndDirectories(): void
    {
        $this->same(static function (string $directory): array {
            $seen = [
                mkdir($directory . 'a/b/c'),
                mkdir($directory . 'a/b/c', 0o777, true),
                mkdir($directory . 'a/b/c', 0o777, true),
                mkdir($directory . 'a'),
                is_dir($directory . 'a/b'),
                is_file($directory . 'a/b'),
                file_put_contents($directory . 'a/one', '1'),
                copy($directory . 'a/one', $directory . 'a/b/two'),
                copy($directory . 'none', $directory . 'a/b/two'),
                file_get_contents($directory . 'a/b/two'),
                rename($directory . 'a/one', $directory . 'a/b/two'),
                file_exists($directory . 'a/one'),
                rename($directory . 'none', $directory . 'any'),
                rename($directory . 'a', $directory . 'z'),
                scandir($directory . 'z') !== false,
                array_values(array_diff((array) scandir($directory . 'z/b'), ['.', '..'])),
                unlink($directory . 'z/b'),
                unlink($directory . 'none'),
                rmdir($directory . 'z'),
                rmdir($directory . 'none'),
                rmdir($directory . 'z/b/two'),
                unlink($directory . 'z/b/two'),
                rmdir($directory . 'z/b/c'),
                rmdir($directory . 'z/b'),
                rmdir($directory . 'z'),
                is_dir($directory . 'z'),
                fopen($directory . '', 'w'),
                opendir($directory . 'none'),
            ];
            file_put_contents($directory . 'file', 'x');
            $seen[] = mkdir($directory . 'file/below');
            $seen[] = @file_put_contents($directory . 'here', 'x');
            $seen[] = file_exists($directory . 'file/below');

            return $seen;
        });
    }

    public function testIteratorsListWhatIsThere(): void
    {
        $this->same(static function (string $directory): array {
            foreach (['a/1', 'a/2', 'b/c/3', '4'] as $name) {
                is_dir(\dirname($directory . $name)) || mkdir(\dirname($directory . $name), 0o777, true);
                file_put_contents($directory . $name, $name);
            }
            $found = [];
            $skip = \FilesystemIterator::SKIP_DOTS;
            $walk = new \RecursiveIteratorIterator(
                new \RecursiveDirectoryIterator($directory, $skip),
                \RecursiveIteratorIterator::SELF_FIRST,
            );
            foreach ($walk as $each) {
                self::assertInstanceOf(\SplFileInfo::class, $each);
                $found[] = [substr($each->getPathname(), \strlen($directory)), $each->isDir(), $each->isFile()];
            }
            sort($found);
            $handle = opendir($directory . 'a');
            self::assertIsResource($handle);
            $names = [];
            for ($round = 0; $round < 2; ++$round) {
                while (($name = readdir($handle)) !== false) {
                    if ($name !== '.' && $name !== '..') {
                        $names[] = $name;
                    }
                }
                rewinddir($handle);
            }
            sort($names);

            return [$found, $names];
        });
    }

    public function testTouchAndChmodReadBack(): void
    {
        $this->same(static function (string $directory): array {
            $seen = [touch($directory . 'new'), file_get_contents($directory . 'new')];
            $seen[] = touch($directory . 'new', 1_000_000_000);
            clearstatcache();
            $seen[] = filemtime($directory . 'new');
            foreach ([0o444, 0o640, 0o755] as $mode) {
                $seen[] = chmod($directory . 'new', $mode);
                clearstatcache();
                $seen[] = fileperms($directory . 'new');
            }
            $seen[] = chmod($directory . 'none', 0o644);
            // Overwriting keeps them.
            file_put_contents($directory . 'new', 'more');
            clearstatcache();

            return [...$seen, fileperms($directory . 'new'), is_writable($directory . 'new')];
        });
        mkdir('cistern://d');
        self::assertTrue(touch('cistern://d'));
        self::assertTrue(chmod('cistern://d', 0o700));
        self::assertTrue(chown('cistern://d', 0));
    }

    public function testWhatItIsAndWhoMayWhat(): void
    {
        foreach (['file', 'd'] as $name) {
            $name === 'd' ? mkdir('cistern://d') : file_put_contents('cistern://file', 'x');
            self::assertTrue(is_writable("cistern://$name"));
            self::assertTrue(is_readable("cistern://$name"));
            self::assertSame(posix_geteuid(), fileowner("cistern://$name"));
            self::assertFalse(is_link("cistern://$name"));
        }
        self::assertTrue(is_dir('cistern://'));
        self::assertFalse(file_exists('cistern://none'));
        chmod('cistern://file', 0o444);
        self::assertFalse(posix_geteuid() !== 0 && is_writable('cistern://file'));
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

    public function testRenamingToAnotherStoreIsRefused(): void
    {
        StreamWrapper::register('cistern-other', $this->client());
        file_put_contents('cistern://a', 'x');
        try {
            self::assertFalse(@rename('cistern://a', 'cistern-other://b'));
            self::assertTrue(copy('cistern://a', 'cistern-other://b'));
        } finally {
            StreamWrapper::unregister('cistern-other');
        }
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
