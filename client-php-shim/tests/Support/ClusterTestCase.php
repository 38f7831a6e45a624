<?php

declare(strict_types=1);

namespace Cistern\Tests\Support;

use Cistern\Client;
use Cistern\ClientOptions;
use PHPUnit\Framework\TestCase;

/**
 * A test on a running cluster, in a directory of its own. CISTERN_TRACKER_URLS, CISTERN_DOMAIN and CISTERN_TOKEN say
 * which; the token may read, write and redirect.
 */
abstract class ClusterTestCase extends TestCase
{
    protected string $prefix = '';
    /** @var list<string> what the clients logged */
    protected array $logged = [];

    protected function setUp(): void
    {
        $this->prefix = 'php-tests/' . bin2hex(random_bytes(6));
    }

    protected function tearDown(): void
    {
        $this->client(['prefix' => ''])->makeDirectory($this->prefix);
        $this->client(['prefix' => ''])->removeDirectory($this->prefix, true);
    }

    /**
     * @param array<string, mixed> $options beside or instead of those that fit the cluster
     */
    protected function client(array $options = []): Client
    {
        $options += [
            'trackers' => explode(',', self::environment('CISTERN_TRACKER_URLS')),
            'domain' => self::environment('CISTERN_DOMAIN'),
            'token' => self::environment('CISTERN_TOKEN'),
            'prefix' => $this->prefix,
            'log' => function (string $level, string $message): void {
                $this->logged[] = "$level: $message";
            },
        ];

        // @phpstan-ignore argument.type (the values are the tests' own)
        return new Client(new ClientOptions(...$options));
    }

    protected static function environment(string $name): string
    {
        $value = getenv($name);

        return $value === false || $value === ''
            ? self::fail("$name is not set: run npx vitest run test/php.test.ts")
            : $value;
    }

    /**
     * A local file of random bytes that ends with the test process.
     *
     * @param positive-int $mebibytes
     */
    protected static function bigFile(int $mebibytes): string
    {
        $path = (string) tempnam(sys_get_temp_dir(), 'cistern-test-');
        register_shutdown_function(static fn () => @unlink($path));
        $file = fopen($path, 'w');
        self::assertIsResource($file);
        for ($i = 0; $i < $mebibytes; ++$i) {
            fwrite($file, random_bytes(1048576));
        }
        fclose($file);

        return $path;
    }

    /**
     * Runs a script in a process of its own. `$client` and `$prefix` are there, and the protocol cistern://.
     *
     * @return array{string, int} what it printed, on both streams, and its exit code
     */
    protected function script(string $code, string $ini = ''): array
    {
        $head = 'require ' . var_export(\dirname(__DIR__, 2) . '/vendor/autoload.php', true) . ';'
            . '$prefix = ' . var_export($this->prefix, true) . ';'
            . '$client = new Cistern\Client(new Cistern\ClientOptions(explode(",", getenv("CISTERN_TRACKER_URLS")),'
            . 'getenv("CISTERN_DOMAIN"), getenv("CISTERN_TOKEN"), $prefix));'
            . 'Cistern\StreamWrapper::register("cistern", $client);';
        $command = [\PHP_BINARY, '-d', 'display_errors=1', '-d', 'log_errors=0'];
        array_push($command, ...($ini === '' ? [] : ['-d', $ini]), ...['-r', $head . $code]);
        $process = proc_open([...$command], [1 => ['pipe', 'w']], $pipes);
        self::assertIsResource($process);
        $printed = (string) stream_get_contents($pipes[1]);

        return [$printed, proc_close($process)];
    }

    /**
     * @template T of \Throwable
     *
     * @param class-string<T> $class
     *
     * @return T
     */
    protected static function thrown(string $class, \Closure $do): \Throwable
    {
        try {
            $do();
        } catch (\Throwable $e) {
            self::assertInstanceOf($class, $e, $e::class . ': ' . $e->getMessage());

            return $e;
        }
        self::fail("$class was not thrown");
    }
}
