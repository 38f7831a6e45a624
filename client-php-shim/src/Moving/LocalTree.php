<?php

declare(strict_types=1);

namespace Cistern\Moving;

use Cistern\Exception\Unavailable;

/**
 * A local directory with a site's files, on NFS as a rule: what of it may be in the store. Symbolic links are not
 * followed.
 */
final class LocalTree implements Tree
{
    public readonly string $root;
    private readonly NeverPublished $never;

    /**
     * @param string $root the directory; it may be a link itself
     * @param bool $public whether what is in it is public
     * @param array<string, string> $others what else stays out: reasons by absolute path
     */
    public function __construct(string $root, bool $public, array $others = [])
    {
        $this->root = rtrim($root, '/');
        $this->never = new NeverPublished($this->root, $public, $others);
    }

    /**
     * What is at a path; null if there is nothing that may be in the store.
     *
     * @throws Unavailable if the directory is not there, which says nothing of what is in it
     */
    public function find(string $path): ?LocalFile
    {
        if ($path === '') {
            $this->checkThere();
        }
        $at = '';
        foreach ($path === '' ? [] : explode('/', \dirname($path)) as $segment) {
            $at .= "/$segment";
            if ($segment !== '.' && is_link($this->root . $at)) {
                return null;
            }
        }
        $file = $this->look($path);
        if ($file === null) {
            $this->checkThere();

            return null;
        }
        $why = $this->never->why($path, $file->isDirectory);
        $why ??= $file->isDirectory ? null : $this->never->whyContent($file->local);

        return $why === null ? $file : null;
    }

    /**
     * Why a file that find() does not give stays out; null if there is none.
     */
    public function why(LocalFile $file): ?string
    {
        return $this->never->why($file->path, $file->isDirectory)
            ?? ($file->isDirectory ? null : $this->never->whyContent($file->local));
    }

    /**
     * What a directory holds that may be in the store, by name in byte order.
     *
     * @param (\Closure(string, string): void)|null $skipped is told of each name that stays out, and why
     *
     * @throws Unavailable
     * @return \Generator<int, LocalFile>
     */
    public function children(string $path, ?\Closure $skipped = null): \Generator
    {
        $names = @scandir($this->local($path));
        if ($names === false) {
            $this->checkThere();
            if ($skipped !== null) {
                $skipped($path, 'the directory cannot be read');
            }

            return;
        }
        foreach ($names as $name) {
            if ($name === '.' || $name === '..') {
                continue;
            }
            $below = $path === '' ? $name : "$path/$name";
            $file = $this->look($below);
            $why = $file === null ? $this->whyNotRegular($below) : $this->never->why($below, $file->isDirectory);
            if ($file !== null && $why === null) {
                yield $file;
            } elseif ($why !== null && $skipped !== null) {
                $skipped($below, $why);
            }
        }
    }

    /**
     * All files that may be in the store, directory by directory.
     *
     * @param (\Closure(string, string): void)|null $skipped as in children(); what is below a directory that stays out
     *                                                       is not told
     *
     * @throws Unavailable
     * @return \Generator<int, LocalFile>
     */
    public function files(?\Closure $skipped = null, string $path = ''): \Generator
    {
        $directories = [];
        if ($path === '') {
            $this->checkThere();
            if (($why = $this->never->why('', true)) !== null) {
                if ($skipped !== null) {
                    $skipped('', $why);
                }

                return;
            }
        }
        foreach ($this->children($path, $skipped) as $file) {
            if ($file->isDirectory) {
                $directories[] = $file->path;
            } else {
                yield $file;
            }
        }
        foreach ($directories as $directory) {
            yield from $this->files($skipped, $directory);
        }
    }

    /** Where a path is on this machine. */
    public function local(string $path): string
    {
        return $path === '' ? $this->root : "$this->root/$path";
    }

    /**
     * @throws Unavailable if the directory is not there: not mounted on this machine, say
     */
    public function checkThere(): void
    {
        // A mount point that nobody may read tells that nothing is mounted on it.
        if (!is_dir($this->root) || !is_readable($this->root)) {
            throw new Unavailable("The directory $this->root is not there. Is it mounted on this machine?");
        }
    }

    private function look(string $path): ?LocalFile
    {
        $local = $this->local($path);
        clearstatcache(true, $local);
        $stat = $path === '' ? @stat($local) : @lstat($local);
        $kind = $stat === false ? 0 : $stat['mode'] & 0o170000;
        if ($stat === false || ($kind !== 0o100000 && $kind !== 0o040000)) {
            return null;
        }
        $directory = $kind === 0o040000;

        return new LocalFile(
            $path,
            $local,
            $directory,
            $directory ? 0 : $stat['size'],
            $stat['mtime'],
            $stat['mode'] & 0o7777,
        );
    }

    private function whyNotRegular(string $path): ?string
    {
        $type = @filetype($this->local($path));

        return match ($type) {
            // It is gone, or became something else meanwhile.
            false, 'file', 'dir' => null,
            'link' => 'a symbolic link, which is not followed',
            default => "not a file ($type)",
        };
    }
}
