<?php

declare(strict_types=1);

namespace Cistern\Tests\Support;

use Cistern\Client;
use Cistern\StreamWrapper;

/**
 * What PHP's own functions do on cistern:// is compared with what they do on a local directory, wherever both can do it.
 */
abstract class WrapperTestCase extends ClusterTestCase
{
    protected Client $client;
    protected string $local = '';

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
     * Does the same in both places and compares what came of it; of warnings only whether there were any.
     *
     * @param \Closure(string): mixed $do is given the directory, with its slash
     */
    protected function same(\Closure $do): mixed
    {
        clearstatcache();
        $said = '';
        [$expected, $found] = array_map(static function (string $directory) use ($do, &$said): array {
            $warned = false;
            set_error_handler(static function (int $level, string $message) use ($directory, &$warned, &$said): bool {
                $warned = true;
                $said .= "warning for $directory: $message\n";

                return true;
            });
            try {
                return [$do($directory), $warned];
            } finally {
                restore_error_handler();
            }
        }, ["$this->local/", 'cistern://']);
        self::assertSame($expected, $found, $said);

        return $found[0];
    }
}
