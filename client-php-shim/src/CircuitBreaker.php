<?php

declare(strict_types=1);

namespace Cistern;

/**
 * Remembers which servers failed, so that not every call waits for them again. PHP processes share this by APCu where
 * it is there. A server that hung is left alone for some seconds, longer each time, and then tried by one process;
 * one that refuses connections costs nothing to ask, so it is only asked last.
 *
 * @internal
 */
final class CircuitBreaker
{
    private const REFUSED_SECONDS = 2.0;
    private const HUNG_SECONDS = [3.0, 6.0, 12.0, 24.0, 30.0];
    private const PREFIX = 'cistern:breaker:';

    /** @var array<string, array{until: float, failures: int, hung: bool}> without APCu */
    private static array $records = [];
    private readonly bool $shared;

    public function __construct()
    {
        $this->shared = \function_exists('apcu_enabled') && apcu_enabled();
    }

    public function succeeded(string $server): void
    {
        if ($this->record($server) === null) {
            return;
        }
        unset(self::$records[$server]);
        if ($this->shared) {
            apcu_delete(self::PREFIX . $server);
        }
    }

    public function failed(string $server, bool $hung): void
    {
        $before = $this->record($server);
        $failures = ($before['failures'] ?? 0) + 1;
        $last = \count(self::HUNG_SECONDS) - 1;
        $seconds = $hung ? self::HUNG_SECONDS[min($failures - 1, $last)] : self::REFUSED_SECONDS;
        $record = ['until' => microtime(true) + $seconds, 'failures' => $failures, 'hung' => $hung];
        if ($this->shared) {
            // The count is forgotten in time, so that rare failures do not add up.
            apcu_store(self::PREFIX . $server, $record, 120);
        } else {
            self::$records[$server] = $record;
        }
    }

    /** It failed a moment ago. */
    public function isSuspect(string $server): bool
    {
        $record = $this->record($server);

        return $record !== null && ($record['hung'] || $record['until'] > microtime(true));
    }

    /** It hung, and must not be asked now. */
    public function isOpen(string $server): bool
    {
        $record = $this->record($server);

        return $record !== null && $record['hung'] && $record['until'] > microtime(true);
    }

    /** It hung, and its time is over: whoever gets true here shall try it, with care. */
    public function isProbe(string $server): bool
    {
        $record = $this->record($server);

        return $record !== null && $record['hung'] && $record['until'] <= microtime(true);
    }

    /** Of the processes that want to try a server that hung, one may. */
    public function mayProbe(string $server): bool
    {
        return !$this->shared || apcu_add(self::PREFIX . 'probe:' . $server, true, 2);
    }

    /**
     * @return array{until: float, failures: int, hung: bool}|null
     */
    private function record(string $server): ?array
    {
        if (!$this->shared) {
            return self::$records[$server] ?? null;
        }
        $record = apcu_fetch(self::PREFIX . $server);

        /** @var array{until: float, failures: int, hung: bool}|null */
        return \is_array($record) ? $record : null;
    }
}
