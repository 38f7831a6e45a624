<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\CisternException;
use Cistern\Exception\Unavailable;
use Cistern\Transport\Download;
use Cistern\Transport\Request;
use Cistern\Transport\Response;
use Cistern\Transport\Transport;
use Cistern\Transport\TransportFailure;

/**
 * Asks trackers until one answers: the one that answered last, then the others, then again after a pause, as often and
 * as long as the options say. Every request to a tracker may be repeated: it only reads, or it carries an
 * Idempotency-Key, or its repetition changes nothing.
 *
 * @internal
 */
final class Trackers
{
    /** Before the first repetition, in seconds; doubled for each one more. */
    private const PAUSE = 0.15;

    public readonly CircuitBreaker $breaker;
    public readonly Deadline $deadline;
    private int $preferred;

    public function __construct(private readonly ClientOptions $options, private readonly Transport $transport)
    {
        $this->breaker = new CircuitBreaker();
        $this->deadline = new Deadline($options->deadline);
        // So that many short web requests share the trackers.
        $this->preferred = random_int(0, \count($options->trackers) - 1);
    }

    /**
     * The answer of a tracker, which is no error.
     *
     *
     * @throws CisternException
     */
    public function call(Request $request): Response
    {
        $answer = $this->ask(fn (string $tracker, float $timeout): Response => $this->transport->exchange(
            $request->to($tracker, $timeout),
        ));
        if ($answer->status >= 400) {
            throw Problems::exception($answer);
        }

        return $answer;
    }

    /**
     * The same for an answer whose body is to be read as it comes.
     *
     *
     * @throws CisternException
     * @return array{Download, string} and the tracker that sends it
     */
    public function open(Request $request): array
    {
        $by = '';
        $answer = $this->ask(function (string $tracker, float $timeout) use ($request, &$by): Download {
            $by = $tracker;

            return $this->transport->open($request->to($tracker, $timeout));
        });
        if ($answer->head->status >= 300) {
            throw Problems::exception($answer->head);
        }

        return [$answer, $by];
    }

    /** A transfer broke after its head was there. */
    public function broke(string $tracker, TransportFailure $failure): void
    {
        $this->failed($tracker, $failure);
    }

    /**
     * @template T of Response|Download
     *
     * @param \Closure(string, float): T $try
     *
     *
     * @throws Unavailable
     * @return T any answer that no other tracker could better
     */
    private function ask(\Closure $try): Response|Download
    {
        $asked = [];
        $last = null;
        $sent = false;
        // Where nothing works anyway, waiting a little will not help: whoever was there first has waited.
        $good = array_filter($this->options->trackers, fn (string $one): bool => !$this->breaker->isSuspect($one));
        $patient = $good !== [];
        $repeats = 0;
        while (true) {
            $tracker = $this->choose($asked);
            if ($tracker !== null && isset($asked[$tracker])) {
                if (!$patient || $repeats >= $this->options->retries) {
                    break;
                }
                $this->pause(self::PAUSE * 2 ** $repeats++);
            }
            $timeout = min($this->options->timeout, $this->deadline->left());
            if ($tracker === null || $timeout <= 0) {
                break;
            }
            $asked[$tracker] = ($asked[$tracker] ?? 0) + 1;
            try {
                $answer = $try($tracker, $timeout);
            } catch (TransportFailure $failure) {
                $this->failed($tracker, $failure);
                $sent = $sent || $failure->sent;
                $last = $failure->getMessage();
                continue;
            }
            $head = $answer instanceof Download ? $answer->head : $answer;
            // The first of two equal requests may still be at work, on another tracker.
            $underWay = array_sum($asked) > 1 && Problems::isUnderWay($head);
            if (!$underWay && !Problems::isPassing($head->status)) {
                $this->breaker->succeeded($tracker);
                $this->deadline->answered($head->waited);
                $this->preferred = (int) array_search($tracker, $this->options->trackers, true);

                return $answer;
            }
            $this->deadline->lost($head->waited);
            $last = Problems::exception($head);
            $this->log('warning', "$tracker: " . $last->getMessage(), ['status' => $head->status]);
            if ($last->problem === 'shutting-down') {
                $this->breaker->failed($tracker, false);
            }
        }
        throw $this->unavailable($last, $sent);
    }

    /**
     * Which tracker to ask now: of those asked least often in this operation one that did not fail just now, if there
     * is one.
     *
     * @param array<string, int> $asked how often each was asked
     */
    private function choose(array $asked): ?string
    {
        $all = $this->options->trackers;
        $rank = [];
        foreach ([...\array_slice($all, $this->preferred), ...\array_slice($all, 0, $this->preferred)] as $tracker) {
            $suspect = $this->breaker->isSuspect($tracker) && !$this->breaker->isProbe($tracker);
            $rank[$tracker] = 2 * ($asked[$tracker] ?? 0) + ($suspect ? 1 : 0);
        }
        asort($rank);
        foreach ($rank as $tracker => $_) {
            if ($this->mayAsk($tracker)) {
                return $tracker;
            }
        }

        return null;
    }

    /**
     * Whether it is worth a request. One that hung is asked something small first.
     */
    private function mayAsk(string $tracker): bool
    {
        if ($this->breaker->isOpen($tracker)) {
            return false;
        }
        if (!$this->breaker->isProbe($tracker)) {
            return true;
        }
        if (!$this->breaker->mayProbe($tracker)) {
            return false;
        }
        try {
            $timeout = min($this->options->connectTimeout, $this->deadline->left());
            $answer = $this->transport->exchange(new Request('GET', $tracker, '/healthz', [], null, $timeout));
            $this->breaker->succeeded($tracker);
            $this->deadline->answered($answer->waited);

            return true;
        } catch (TransportFailure $failure) {
            $this->failed($tracker, $failure);

            return !$failure->hung;
        }
    }

    private function failed(string $tracker, TransportFailure $failure): void
    {
        $this->breaker->failed($tracker, $failure->hung);
        $this->deadline->lost($failure->waited);
        $this->log('warning', $failure->getMessage(), ['tracker' => $tracker]);
    }

    private function pause(float $seconds): void
    {
        $seconds = min($seconds * (0.5 + random_int(0, 1000) / 1000), $this->deadline->left());
        $this->deadline->lost($seconds);
        usleep((int) ($seconds * 1e6));
    }

    private function unavailable(string|CisternException|null $last, bool $sent): CisternException
    {
        if ($last instanceof CisternException) {
            return $last;
        }
        $why = $last ?? ($this->deadline->left() <= 0
            ? "the {$this->options->deadline} seconds that this may lose to trackers are used up"
            : 'all of them hung a moment ago');
        $trackers = implode(', ', $this->options->trackers);
        $unknown = $sent ? ' Whether a change was made is not known.' : '';

        return new Unavailable("No tracker could be asked ($trackers): $why.$unknown");
    }

    /**
     * @param array<string, mixed> $context
     */
    public function log(string $level, string $message, array $context = []): void
    {
        if ($this->options->log !== null) {
            ($this->options->log)($level, $message, $context);
        }
    }
}
