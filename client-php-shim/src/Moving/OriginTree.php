<?php

declare(strict_types=1);

namespace Cistern\Moving;

use Cistern\Exception\Unavailable;

/**
 * The public files of another site, by its public address: for developers' machines, which then need no copy of them.
 * They are fetched when they are asked for, and kept on the local disk. Nothing is ever sent there.
 */
final class OriginTree implements Tree
{
    private const MAX_REDIRECTS = 3;
    /** So that two sites that name each other do not ask each other for ever. */
    private const MARK = 'X-Cistern-Origin';

    private readonly string $url;
    private readonly NeverPublished $never;
    /** @var array<string, true> what the other site does not have, for this web request */
    private array $missing = [];

    /**
     * @param string $url of the other site's public files: https://www.example.com/sites/default/files
     * @param string $directory a local one, for what was fetched
     * @param float $timeout seconds
     */
    public function __construct(string $url, private readonly string $directory, private readonly float $timeout = 10.0)
    {
        $this->url = rtrim($url, '/');
        $this->never = new NeverPublished($directory, true);
    }

    public function find(string $path): ?LocalFile
    {
        // Image styles are made here, of the originals.
        $styles = preg_match('~^styles(?:/|$)~', $path) === 1;
        if ($path === '' || $styles || isset($this->missing[$path]) || $this->never->why($path, false) !== null) {
            return null;
        }
        $local = "$this->directory/$path";
        clearstatcache(true, $local);
        if (!is_file($local) && !$this->fetch($path, $local)) {
            $this->missing[$path] = true;

            return null;
        }

        return new LocalFile($path, $local, false, (int) filesize($local), (int) filemtime($local), 0o644);
    }

    /** Nobody tells what a directory of another site holds. */
    public function children(string $path): iterable
    {
        return [];
    }

    /** Whether this request was made by a site that looks here for its own files. */
    public static function isAsked(): bool
    {
        return isset($_SERVER['HTTP_' . strtoupper(str_replace('-', '_', self::MARK))]);
    }

    /**
     * @return bool whether the other site has it
     */
    private function fetch(string $path, string $local): bool
    {
        if (is_dir($local) || self::isAsked() || pathinfo($path, \PATHINFO_EXTENSION) === '') {
            return false;
        }
        if (!is_dir(\dirname($local)) && !@mkdir(\dirname($local), 0o775, true) && !is_dir(\dirname($local))) {
            // The other site has a file where a directory is wanted.
            return false;
        }
        $temporary = \dirname($local) . '/.fetching-' . bin2hex(random_bytes(6));
        $file = @fopen($temporary, 'xb');
        if ($file === false) {
            throw new Unavailable("$temporary cannot be written, for a file of $this->url.");
        }
        try {
            $url = $this->url . '/' . implode('/', array_map(rawurlencode(...), explode('/', $path)));
            $curl = curl_init($url);
            if ($curl === false) {
                throw new Unavailable("$url cannot be asked.");
            }
            curl_setopt_array($curl, [
                \CURLOPT_FILE => $file,
                \CURLOPT_FOLLOWLOCATION => true,
                \CURLOPT_MAXREDIRS => self::MAX_REDIRECTS,
                \CURLOPT_PROTOCOLS => \CURLPROTO_HTTP | \CURLPROTO_HTTPS,
                \CURLOPT_FAILONERROR => true,
                \CURLOPT_FILETIME => true,
                \CURLOPT_CONNECTTIMEOUT_MS => (int) ($this->timeout * 500),
                // A large file may take long, as long as it moves.
                \CURLOPT_LOW_SPEED_LIMIT => 1,
                \CURLOPT_LOW_SPEED_TIME => (int) ceil($this->timeout),
                \CURLOPT_HTTPHEADER => [self::MARK . ': 1'],
                \CURLOPT_USERAGENT => 'cistern-php',
                \CURLOPT_NOSIGNAL => true,
            ]);
            $well = curl_exec($curl);
            $status = curl_getinfo($curl, \CURLINFO_RESPONSE_CODE);
            if ($well !== true && $status >= 400 && $status < 500) {
                return false;
            }
            if ($well !== true || !fflush($file)) {
                throw new Unavailable("$this->url does not give '$path': " . curl_error($curl));
            }
            $time = curl_getinfo($curl, \CURLINFO_FILETIME);
            touch($temporary, $time > 0 ? $time : time());

            return rename($temporary, $local);
        } finally {
            fclose($file);
            @unlink($temporary);
        }
    }
}
