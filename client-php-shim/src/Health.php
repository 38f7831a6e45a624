<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Transport\Request;
use Cistern\Transport\Transport;
use Cistern\Transport\TransportFailure;

/**
 * Asks one tracker whether it is ready, and how its clock goes.
 *
 * @internal
 */
final class Health
{
    /**
     * @param float $timeout in seconds
     *
     * @return array{tracker: string, ready: bool, seconds: float, why: string, clockOffset: float|null}
     */
    public static function of(string $tracker, Transport $transport, float $timeout): array
    {
        $started = microtime(true);
        try {
            $answer = $transport->exchange(new Request('GET', $tracker, '/readyz', [], null, $timeout));
            $ready = $answer->status === 200;
            $why = $ready ? '' : Problems::exception($answer)->getMessage();
            $date = strtotime($answer->headers['date'] ?? '');
        } catch (TransportFailure $failure) {
            [$ready, $why, $date] = [false, $failure->getMessage(), false];
        }
        $now = microtime(true);

        return [
            'tracker' => $tracker,
            'ready' => $ready,
            'seconds' => $now - $started,
            'why' => $why,
            // The Date header has whole seconds, cut off.
            'clockOffset' => $date === false ? null : round($date + 0.5 - $now, 1),
        ];
    }
}
