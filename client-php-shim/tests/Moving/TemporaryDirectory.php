<?php

declare(strict_types=1);

namespace Cistern\Tests\Moving;

use PHPUnit\Framework\Attributes\After;
use PHPUnit\Framework\Attributes\Before;

/**
 * A local directory for each test.
 */
trait TemporaryDirectory
{
    private string $directory = '';

    #[Before]
    protected function makeDirectory(): void
    {
        $this->directory = sys_get_temp_dir() . '/cistern-moving-' . bin2hex(random_bytes(6));
        mkdir($this->directory);
    }

    #[After]
    protected function removeDirectory(): void
    {
        exec('rm -rf ' . escapeshellarg($this->directory));
    }

    private function write(string $path, string $bytes, ?int $mtime = null): void
    {
        $local = "$this->directory/$path";
        if (!is_dir(\dirname($local))) {
            mkdir(\dirname($local), 0o775, true);
        }
        file_put_contents($local, $bytes);
        if ($mtime !== null) {
            touch($local, $mtime);
        }
    }
}
