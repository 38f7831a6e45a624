<?php

declare(strict_types=1);

namespace Cistern\Tests\Flysystem;

use Cistern\Flysystem\CisternAdapter;
use Cistern\Tests\Support\ClusterTestCase;
use League\Flysystem\Filesystem;
use League\Flysystem\FilesystemException;
use League\Flysystem\InvalidVisibilityProvided;
use League\Flysystem\StorageAttributes;
use League\Flysystem\UnableToCheckDirectoryExistence;
use League\Flysystem\UnableToCheckFileExistence;
use League\Flysystem\UnableToCopyFile;
use League\Flysystem\UnableToCreateDirectory;
use League\Flysystem\UnableToDeleteDirectory;
use League\Flysystem\UnableToDeleteFile;
use League\Flysystem\UnableToGeneratePublicUrl;
use League\Flysystem\UnableToGenerateTemporaryUrl;
use League\Flysystem\UnableToListContents;
use League\Flysystem\UnableToMoveFile;
use League\Flysystem\UnableToProvideChecksum;
use League\Flysystem\UnableToReadFile;
use League\Flysystem\UnableToRetrieveMetadata;
use League\Flysystem\UnableToSetVisibility;
use League\Flysystem\UnableToWriteFile;
use League\Flysystem\Visibility;
use PHPUnit\Framework\Attributes\DataProvider;

/**
 * The ground of League's FilesystemAdapterTestCase, through Filesystem as everybody uses it.
 */
final class CisternAdapterTest extends ClusterTestCase
{
    private Filesystem $files;

    protected function setUp(): void
    {
        parent::setUp();
        $this->files = new Filesystem(new CisternAdapter($this->client(), 'https://example.com/files/'));
    }

    /**
     * @return iterable<string, array{string}>
     */
    public static function paths(): iterable
    {
        foreach (['some/file.txt', 'some/file[name].txt', 'some/file {name}.txt', 'a+b %20 #?.txt', 'ü/👋.txt'] as $path) {
            yield $path => [$path];
        }
    }

    #[DataProvider('paths')]
    public function testWritesReadsAndDeletes(string $path): void
    {
        $this->files->write($path, 'contents');
        self::assertTrue($this->files->fileExists($path));
        self::assertFalse($this->files->directoryExists($path));
        self::assertTrue($this->files->directoryExists(\dirname($path)));
        self::assertSame('contents', $this->files->read($path));
        $this->files->write($path, 'new contents');
        self::assertSame('new contents', stream_get_contents($this->files->readStream($path)));
        $this->files->delete($path);
        self::assertFalse($this->files->fileExists($path));
        $this->files->delete($path);
    }

    public function testStreamsBothWays(): void
    {
        foreach ([str_repeat('x', 1000), random_bytes(3_000_000)] as $bytes) {
            $stream = fopen('php://temp', 'w+');
            self::assertIsResource($stream);
            fwrite($stream, $bytes);
            rewind($stream);
            $this->files->writeStream('stream.bin', $stream);
            $read = $this->files->readStream('stream.bin');
            self::assertTrue(stream_get_contents($read) === $bytes);
            self::assertSame(\strlen($bytes), fstat($read)['size'] ?? null);
            self::assertSame(0, fseek($read, -1000, \SEEK_END));
            self::assertTrue(stream_get_contents($read) === substr($bytes, -1000));
            fclose($read);
        }
    }

    public function testTellsOfFiles(): void
    {
        $before = time();
        $this->files->write('image.svg', '<svg/>');
        self::assertSame('image/svg+xml', $this->files->mimeType('image.svg'));
        self::assertSame(6, $this->files->fileSize('image.svg'));
        self::assertEqualsWithDelta($before, $this->files->lastModified('image.svg'), 30);
        $this->files->write('typed', 'x', ['mimetype' => 'text/x-own']);
        self::assertSame('text/x-own', $this->files->mimeType('typed'));
        self::assertSame(hash('sha256', 'x'), $this->files->checksum('typed', ['checksum_algo' => 'sha256']));
        self::assertSame(hash('crc32c', 'x'), $this->files->checksum('typed', ['checksum_algo' => 'crc32c']));
    }

    public function testVisibility(): void
    {
        $this->files->write('a', 'x', ['visibility' => Visibility::PRIVATE]);
        self::assertSame(Visibility::PRIVATE, $this->files->visibility('a'));
        $this->files->copy('a', 'b');
        self::assertSame(Visibility::PRIVATE, $this->files->visibility('b'));
        $this->files->move('b', 'c', ['visibility' => Visibility::PUBLIC]);
        self::assertSame(Visibility::PUBLIC, $this->files->visibility('c'));
        $this->files->setVisibility('c', Visibility::PRIVATE);
        self::assertSame(Visibility::PRIVATE, $this->files->visibility('c'));
        $this->files->write('plain', 'x');
        self::assertSame(Visibility::PUBLIC, $this->files->visibility('plain'));
        self::thrown(InvalidVisibilityProvided::class, fn () => $this->files->setVisibility('c', 'whatever'));
    }

    public function testListsShallowAndDeep(): void
    {
        $this->files->write('a/b/c.txt', 'x');
        $this->files->write('a/d.txt', 'x', ['visibility' => Visibility::PRIVATE]);
        $this->files->createDirectory('a/empty');
        $describe = static fn (StorageAttributes $each): string => $each->type() . ' ' . $each->path();
        $list = fn (string $path, bool $deep): array => $this->files->listContents($path, $deep)->map($describe)->toArray();
        self::assertSame(['dir a/b', 'file a/d.txt', 'dir a/empty'], $list('a', false));
        $deep = $list('', true);
        sort($deep);
        self::assertSame(['dir a', 'dir a/b', 'dir a/empty', 'file a/b/c.txt', 'file a/d.txt'], $deep);
        self::assertSame([], $list('none', true));
        self::assertTrue($this->files->has('a/empty'));
    }

    public function testDirectories(): void
    {
        $this->files->createDirectory('a/b');
        $this->files->createDirectory('a/b');
        self::assertTrue($this->files->directoryExists('a/b'));
        self::assertFalse($this->files->fileExists('a/b'));
        $this->files->write('a/b/c', 'x');
        $this->files->deleteDirectory('a');
        $this->files->deleteDirectory('a');
        self::assertFalse($this->files->directoryExists('a'));
    }

    public function testMovesAndCopiesReplaceWhatIsThere(): void
    {
        $this->files->write('a', 'A');
        $this->files->write('b', 'B');
        $this->files->copy('a', 'b');
        self::assertSame('A', $this->files->read('b'));
        $this->files->write('b', 'B');
        $this->files->move('b', 'a');
        self::assertSame('B', $this->files->read('a'));
        self::assertFalse($this->files->fileExists('b'));
        $this->files->move('a', 'deep/er/a');
        self::assertSame('B', $this->files->read('deep/er/a'));
    }

    public function testUrls(): void
    {
        $this->files->write('a b/ü.txt', 'x');
        self::assertSame('https://example.com/files/a%20b/%C3%BC.txt', $this->files->publicUrl('a b/ü.txt'));
        $url = $this->files->temporaryUrl('a b/ü.txt', new \DateTimeImmutable('+1 minute'));
        self::assertSame('x', file_get_contents($url));
        self::thrown(
            UnableToGenerateTemporaryUrl::class,
            fn () => $this->files->temporaryUrl('a b/ü.txt', new \DateTimeImmutable('-1 minute')),
        );
        $without = new CisternAdapter($this->client());
        self::thrown(
            UnableToGeneratePublicUrl::class,
            static fn () => $without->publicUrl('a', new \League\Flysystem\Config()),
        );
    }

    public function testConditionsOfWrites(): void
    {
        $this->files->write('a', 'x', ['ifNoneMatch' => true]);
        self::thrown(UnableToWriteFile::class, fn () => $this->files->write('a', 'y', ['ifNoneMatch' => true]));
        self::assertSame('x', $this->files->read('a'));
    }

    public function testWhatIsMissingIsSaidSo(): void
    {
        $this->files->createDirectory('d');
        foreach (['none', 'd'] as $path) {
            self::thrown(UnableToReadFile::class, fn () => $this->files->read($path));
            self::thrown(UnableToReadFile::class, fn () => $this->files->readStream($path));
            self::thrown(UnableToRetrieveMetadata::class, fn () => $this->files->fileSize($path));
            self::thrown(UnableToRetrieveMetadata::class, fn () => $this->files->mimeType($path));
            self::thrown(UnableToRetrieveMetadata::class, fn () => $this->files->lastModified($path));
            self::thrown(UnableToRetrieveMetadata::class, fn () => $this->files->visibility($path));
            foreach (['md5', 'sha256'] as $algorithm) {
                self::thrown(
                    UnableToProvideChecksum::class,
                    fn () => $this->files->checksum($path, ['checksum_algo' => $algorithm]),
                );
            }
        }
        self::thrown(UnableToSetVisibility::class, fn () => $this->files->setVisibility('none', Visibility::PUBLIC));
        self::thrown(UnableToMoveFile::class, fn () => $this->files->move('none', 'x'));
        self::thrown(UnableToCopyFile::class, fn () => $this->files->copy('none', 'x'));
        self::thrown(UnableToWriteFile::class, fn () => $this->files->write('d', 'x'));
        self::thrown(UnableToDeleteFile::class, fn () => $this->files->delete('d'));
        $this->files->write('f', 'x');
        self::thrown(UnableToCreateDirectory::class, fn () => $this->files->createDirectory('f'));
        self::thrown(UnableToDeleteDirectory::class, fn () => $this->files->deleteDirectory('f'));
    }

    public function testAnOutageIsAFailureOfEachKind(): void
    {
        $files = new Filesystem(new CisternAdapter($this->client(['trackers' => ['http://127.0.0.1:9'], 'retries' => 0])));
        self::thrown(UnableToCheckFileExistence::class, static fn () => $files->fileExists('a'));
        self::thrown(UnableToCheckDirectoryExistence::class, static fn () => $files->directoryExists('a'));
        self::thrown(UnableToListContents::class, static fn () => $files->listContents('')->toArray());
        self::thrown(UnableToDeleteFile::class, static fn () => $files->delete('a'));
        self::thrown(FilesystemException::class, static fn () => $files->read('a'));
        self::thrown(UnableToWriteFile::class, static fn () => $files->write('a', 'x'));
    }
}
