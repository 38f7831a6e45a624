<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\InvalidRequest;

/**
 * All settings of a client. docs/php.md explains each.
 */
final class ClientOptions
{
    /** @var non-empty-list<string> */
    public readonly array $trackers;
    /** Without slashes at its ends. */
    public readonly string $prefix;

    /**
     * @param array<string> $trackers addresses: http://host:port, https://host, unix:/run/cistern.sock
     * @param string $prefix directory below which all keys are: invisible to users of the client
     * @param float $connectTimeout seconds until a connection stands
     * @param float $timeout seconds that one call may stand still
     * @param float $deadline seconds that all calls of a web request together may lose to trackers that
     *                        fail, hang or are slow; on the command line: one operation
     * @param int $retries how often a call is repeated after every tracker was tried once
     * @param int $directBytes files from this size on go straight to a storage node
     * @param string|null $spoolDirectory where open files are kept while they are written; null: PHP's
     * @param int $spoolMemory bytes of an open file that are kept in memory, not in the directory
     * @param string|null $tlsCaFile certificates that https:// trackers are checked by; null: the system's
     * @param float $statSeconds how long a look-up may be answered from memory; 0: never
     * @param bool $readOnly every write throws ReadOnlyStore, without asking
     * @param string|null $environment what this site is: prod, stage, ...; a domain that another environment writes
     *                                 refuses writes. null: it is not compared
     * @param (\Closure(string): void)|null $beforeWrite is called before each write, with its key; what it throws keeps
     *                                                   the write from being done
     * @param (\Closure(string, string, array<string, mixed>): void)|null $log is told of fail-overs: level as in PSR-3,
     *                                                                         message, context
     *
     * @throws InvalidRequest
     */
    public function __construct(
        array $trackers,
        public readonly string $domain,
        #[\SensitiveParameter]
        public readonly string $token,
        string $prefix = '',
        public readonly float $connectTimeout = 1.0,
        public readonly float $timeout = 10.0,
        public readonly float $deadline = 30.0,
        public readonly int $retries = 2,
        public readonly int $directBytes = 8388608,
        public readonly ?string $spoolDirectory = null,
        public readonly int $spoolMemory = 2097152,
        public readonly ?string $tlsCaFile = null,
        public readonly float $statSeconds = 5.0,
        public readonly bool $readOnly = false,
        public readonly ?\Closure $log = null,
        public readonly ?string $environment = null,
        public readonly ?\Closure $beforeWrite = null,
    ) {
        $checked = [];
        foreach ($trackers as $tracker) {
            if (preg_match('~^(https?://[^/?#@\s]+|unix:/[^\s?#]+)/?$~', $tracker) !== 1) {
                throw new InvalidRequest("The tracker address '$tracker' is not of the form http://host:port, "
                    . 'https://host or unix:/path/of.sock.');
            }
            $checked[] = rtrim($tracker, '/');
        }
        if ($checked === []) {
            throw new InvalidRequest('No tracker is given: set at least one address.');
        }
        if ($environment !== null && preg_match('~^[a-z0-9][a-z0-9._-]{0,62}$~D', $environment) !== 1) {
            throw new InvalidRequest("The environment '$environment' is not of 1 to 63 lower-case letters, digits, "
                . 'dots, hyphens and underscores.');
        }
        $this->trackers = $checked;
        $this->prefix = trim($prefix, '/');
        foreach ([$connectTimeout, $timeout, $deadline] as $seconds) {
            if ($seconds <= 0) {
                throw new InvalidRequest('Timeouts and the deadline must be more than 0 seconds.');
            }
        }
    }

    /**
     * @return array<mixed> without the token, for var_dump()
     */
    public function __debugInfo(): array
    {
        return ['token' => '…'] + get_object_vars($this);
    }
}
