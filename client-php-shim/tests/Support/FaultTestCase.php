<?php

declare(strict_types=1);

namespace Cistern\Tests\Support;

use Cistern\CircuitBreaker;
use Cistern\Client;

/**
 * A test with proxies between client and trackers that fail as they are told (test/support/fault-control.ts):
 * CISTERN_PROXY_URLS has one for each tracker, CISTERN_CONTROL_URL is where they are told.
 */
abstract class FaultTestCase extends ClusterTestCase
{
    protected function setUp(): void
    {
        parent::setUp();
        // Every test begins as a process of its own would.
        (new \ReflectionProperty(CircuitBreaker::class, 'records'))->setValue(null, []);
    }

    protected function tearDown(): void
    {
        foreach (array_keys(self::proxies()) as $i) {
            self::fault($i, null);
        }
        parent::tearDown();
    }

    /**
     * A client that goes through the proxies; it gives up sooner than others.
     *
     * @param array<string, mixed> $options
     */
    protected function proxied(array $options = []): Client
    {
        return $this->client($options + ['trackers' => self::proxies(), 'timeout' => 2.0, 'connectTimeout' => 2.0]);
    }

    /**
     * @return list<string>
     */
    protected static function proxies(): array
    {
        return explode(',', self::environment('CISTERN_PROXY_URLS'));
    }

    /**
     * What a proxy does from now on; connections that stand are cut.
     *
     * @param array{kind: string, way?: string, after?: int, delay?: int, times?: int}|null $fault see fault-proxy.ts
     */
    protected static function fault(int $proxy, ?array $fault): void
    {
        self::control('PUT', "faults/$proxy", (string) json_encode($fault));
    }

    /**
     * @param array{kind: string, way?: string, after?: int, delay?: int, times?: int}|null $fault
     */
    protected static function faultEverywhere(?array $fault): void
    {
        foreach (array_keys(self::proxies()) as $i) {
            self::fault($i, $fault);
        }
    }

    /** Ends a tracker ('tracker-1') or a storage node ('h1') as a power failure does. */
    protected static function kill(string $part): void
    {
        self::control('POST', "kill/$part");
    }

    /** Starts it again; returns when the cluster is whole. */
    protected static function start(string $part): void
    {
        self::control('POST', "start/$part");
    }

    private static function control(string $method, string $path, string $body = ''): void
    {
        $curl = curl_init(self::environment('CISTERN_CONTROL_URL') . "/$path");
        self::assertNotFalse($curl);
        curl_setopt_array($curl, [
            \CURLOPT_CUSTOMREQUEST => $method === '' ? 'GET' : $method,
            \CURLOPT_POSTFIELDS => $body,
            \CURLOPT_RETURNTRANSFER => true,
            \CURLOPT_TIMEOUT => 60,
        ]);
        $answer = curl_exec($curl);
        self::assertSame(204, curl_getinfo($curl, \CURLINFO_RESPONSE_CODE), (string) $answer);
    }
}
