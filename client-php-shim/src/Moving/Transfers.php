<?php

declare(strict_types=1);

namespace Cistern\Moving;

use Cistern\Api;
use Cistern\ClientOptions;
use Cistern\Exception\CisternException;
use Cistern\Key;
use Cistern\Problems;
use Cistern\Trackers;
use Cistern\Transport\Body;
use Cistern\Transport\CurlTransport;
use Cistern\Transport\Head;
use Cistern\Transport\Request;
use Cistern\Transport\Response;

/**
 * Many small requests at the same time, spread over the trackers. One that fails is repeated alone, with all that the
 * client does about trackers that are away.
 *
 * @internal
 */
final class Transfers
{
    private readonly CurlTransport $transport;
    private readonly Trackers $trackers;
    private readonly Api $api;
    private int $next = 0;

    /**
     * @param int $parallel requests at the same time
     * @param int $memory bytes of bodies that are held at the same time
     */
    public function __construct(
        private readonly ClientOptions $options,
        private readonly int $parallel = 8,
        private readonly int $memory = 33554432,
    ) {
        $this->transport = new CurlTransport($options->connectTimeout, $options->tlsCaFile);
        $this->trackers = new Trackers($options, $this->transport);
        $this->api = new Api($options, $this->trackers);
    }

    /**
     * Stores bytes. A file that arrives otherwise than it was read is refused by the tracker.
     *
     * @param array<string, string> $headers conditions
     * @param array<string, string> $meta
     */
    public function put(string $key, string $bytes, int $mtime, array $meta, array $headers): Request
    {
        $digest = base64_encode(hash('sha256', $bytes, true));
        $headers += $this->api->authorization() + Api::idempotency() + [
            'Content-Type' => '',
            'Repr-Digest' => "sha-256=:$digest:",
            'Cistern-Mtime' => Api::time(new \DateTimeImmutable("@$mtime")),
            'Cistern-Meta' => json_encode($meta, \JSON_THROW_ON_ERROR | \JSON_FORCE_OBJECT),
        ];

        return new Request('PUT', '', $this->file($key), $headers, Body::ofString($bytes), $this->options->timeout);
    }

    public function get(string $key): Request
    {
        return new Request('GET', '', $this->file($key), $this->api->authorization(), null, $this->options->timeout);
    }

    public function delete(string $key, string $etag): Request
    {
        $headers = $this->api->authorization() + Api::idempotency() + ['If-Match' => $etag];

        return new Request('DELETE', '', $this->file($key), $headers, null, $this->options->timeout);
    }

    /** Moves a file to a name that is free. */
    public function move(string $from, string $to): Request
    {
        $headers = $this->api->authorization() + Api::idempotency();
        $headers += ['If-None-Match' => '*', 'Content-Type' => 'application/json'];
        $body = Body::ofJson(['from' => $this->api->absolute($from), 'to' => $this->api->absolute($to)]);

        return new Request('POST', '', $this->api->target('move'), $headers, $body, $this->options->timeout);
    }

    /**
     * Does them all, in any order.
     *
     * @template T
     *
     * @param iterable<array{T, Request}> $requests taken as there is room for them
     * @param \Closure(T, Response|CisternException): void $done is told of each
     */
    public function run(iterable $requests, \Closure $done): void
    {
        $multi = curl_multi_init();
        $waiting = (static fn () => yield from $requests)();
        /** @var array<int, array{\CurlHandle, Head, T, Request}> $running */
        $running = [];
        $held = 0;
        try {
            while ($waiting->valid() || $running !== []) {
                while ($waiting->valid() && \count($running) < $this->parallel) {
                    [$what, $request] = $waiting->current();
                    $size = $request->body->size ?? 0;
                    if ($running !== [] && $held + $size > $this->memory) {
                        break;
                    }
                    $held += $size;
                    $curl = $this->begin($multi, $request, $head = new Head());
                    $running[spl_object_id($curl)] = [$curl, $head, $what, $request];
                    $waiting->next();
                }
                curl_multi_exec($multi, $active);
                while (($info = curl_multi_info_read($multi)) !== false) {
                    $curl = $info['handle'];
                    \assert($curl instanceof \CurlHandle);
                    [, $head, $what, $request] = $running[spl_object_id($curl)];
                    unset($running[spl_object_id($curl)]);
                    $held -= $request->body->size ?? 0;
                    $body = (string) curl_multi_getcontent($curl);
                    curl_multi_remove_handle($multi, $curl);
                    $well = $info['result'] === \CURLE_OK && $head->complete;
                    $done($what, $this->result($request, $well ? $head : null, $body));
                }
                if ($running !== []) {
                    curl_multi_select($multi, 0.5);
                }
            }
        } finally {
            foreach ($running as [$curl]) {
                curl_multi_remove_handle($multi, $curl);
            }
            curl_multi_close($multi);
        }
    }

    private function begin(\CurlMultiHandle $multi, Request $request, Head $head): \CurlHandle
    {
        $tracker = $this->options->trackers[$this->next++ % \count($this->options->trackers)];
        $curl = $this->transport->handle($request->to($tracker, $this->options->timeout), $head);
        if ($request->body !== null) {
            curl_setopt($curl, \CURLOPT_POSTFIELDS, $request->body->bytes() ?? '');
        }
        // Disks that are behind make whole batches slow; who hangs is asked again alone.
        curl_setopt($curl, \CURLOPT_TIMEOUT_MS, (int) (3000 * $this->options->timeout));
        curl_multi_add_handle($multi, $curl);

        return $curl;
    }

    /**
     * @param Head|null $head null: no answer came
     */
    private function result(Request $request, ?Head $head, string $body): Response|CisternException
    {
        try {
            $answer = $head === null ? null : new Response($head->status, $head->headers, $body, 0.0);
            if ($answer === null || Problems::isPassing($answer->status) || Problems::isUnderWay($answer)) {
                $this->trackers->deadline->beginRequest();
                $answer = $this->trackers->call($request);
            }

            return $answer->status >= 400 ? Problems::exception($answer) : $answer;
        } catch (CisternException $e) {
            return $e;
        }
    }

    private function file(string $key): string
    {
        return $this->api->target('files/' . Key::encode($this->api->absolute($key)));
    }
}
