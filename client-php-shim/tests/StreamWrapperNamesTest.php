<?php

declare(strict_types=1);

namespace Cistern\Tests;

use Cistern\StreamWrapper;
use Cistern\Tests\Support\WrapperTestCase;

/**
 * Names and directories by PHP's own functions, and what is kept about files.
 */
final class StreamWrapperNamesTest extends WrapperTestCase
{
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
            mkdir($directory . 'a');
            mkdir($directory . 'b/c', 0o777, true);
            foreach (['a/1', 'a/2', 'b/c/3', '4'] as $name) {
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
}
