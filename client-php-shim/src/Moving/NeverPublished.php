<?php

declare(strict_types=1);

namespace Cistern\Moving;

/**
 * What of a site's files directory must not get into the store, and why. What is in the store below `public/` is
 * public, whereas a directory on a web server's disk also holds what only `.htaccess` guards.
 */
final class NeverPublished
{
    /** At the top of the public directory: what each head makes for itself, and what was put there to be hidden. */
    private const TOP = [
        'css' => 'aggregated CSS: every web head makes its own',
        'js' => 'aggregated JavaScript: every web head makes its own',
        'php' => 'compiled templates, which are code',
        'private' => 'private files',
        'translations' => 'translations that Drupal keeps on each web head',
        'tmp' => 'temporary files',
        'temp' => 'temporary files',
    ];
    private const DATABASE = '~\.(?:sqlite3?|db3?|s3db|sdb)(?:-(?:wal|shm|journal))?$'
        . '|\.(?:sql|mysql|pgsql|dump)(?:\.(?:gz|bz2|xz|zst|zip))?$~i';
    private const SQLITE = "SQLite format 3\0";
    /** So that the longest names of Cistern's own for it are still keys. */
    private const LONGEST = 900;

    /** @var array<string, string|null> of directories that were looked at, by path */
    private array $directories = [];

    /**
     * @param string $root the directory
     * @param bool $public whether what is in it becomes public; of private files only what is no file of the site's
     *                     is left out
     * @param array<string, string> $others reasons by absolute path: the configuration's directory and the like
     */
    public function __construct(
        private readonly string $root,
        private readonly bool $public,
        private readonly array $others = [],
    ) {
    }

    /**
     * Why a path stays out, for itself or for a directory above it; null: it may be published.
     */
    public function why(string $path, bool $isDirectory): ?string
    {
        $at = strrpos($path, '/');
        $above = $at === false ? $this->whyDirectory('') : $this->why(substr($path, 0, $at), true);

        return $above ?? ($isDirectory ? $this->whyDirectory($path) : $this->whyName($path));
    }

    /**
     * Why the bytes of a file stay out, whatever its name is.
     */
    public function whyContent(string $local): ?string
    {
        if (!$this->public) {
            return null;
        }
        $head = @file_get_contents($local, false, null, 0, \strlen(self::SQLITE));

        return $head === self::SQLITE ? 'a database (SQLite)' : null;
    }

    private function whyDirectory(string $path): ?string
    {
        if (!\array_key_exists($path, $this->directories)) {
            if (\count($this->directories) > 10000) {
                $this->directories = [];
            }
            $this->directories[$path] = ($path === '' ? null : $this->whyName($path)) ?? $this->whyDenied($path);
        }

        return $this->directories[$path];
    }

    private function whyName(string $path): ?string
    {
        $name = basename("/$path");

        return match (true) {
            $name[0] === '.' => 'hidden (its name begins with a dot)',
            preg_match('//u', $path) !== 1 => 'its name is not valid UTF-8',
            \strlen($path) > self::LONGEST => 'its path is longer than ' . self::LONGEST . ' bytes',
            isset($this->others["$this->root/$path"]) => $this->others["$this->root/$path"],
            !$this->public => null,
            isset(self::TOP[$path]) => self::TOP[$path],
            preg_match('~^config_[\w-]+$~', $path) === 1 => 'configuration of the site',
            preg_match(self::DATABASE, $name) === 1 => 'a database, or a dump of one',
            default => null,
        };
    }

    /**
     * What a directory's own `.htaccess` says to everybody: that of Drupal's private directories denies all.
     */
    private function whyDenied(string $path): ?string
    {
        $file = rtrim("$this->root/$path", '/') . '/.htaccess';
        if (!$this->public || !is_file($file)) {
            return null;
        }
        $text = (string) @file_get_contents($file, false, null, 0, 65536);
        // What is said of some files, or of some methods, does not close the directory.
        $text = (string) preg_replace('~<(Files|FilesMatch|Limit|LimitExcept)\b.*?</\1>~is', '', $text);
        $denies = preg_match('~^\s*(?:Require\s+all\s+denied|Deny\s+from\s+all)\b~im', $text) === 1;

        return $denies ? 'its .htaccess denies access' : null;
    }
}
