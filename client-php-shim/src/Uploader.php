<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\Corrupt;
use Cistern\Exception\Unavailable;
use Cistern\Transport\Body;
use Cistern\Transport\Request;
use Cistern\Transport\Transport;
use Cistern\Transport\TransportFailure;

/**
 * Stores files: small ones in one request to a tracker; large ones straight at a storage node, whose receipt a tracker
 * then turns into a name; these too through a tracker where no node can be reached.
 *
 * @internal
 */
final class Uploader
{
    /** How often the bytes are offered to nodes before they go through a tracker. */
    private const NODES = 2;

    public function __construct(
        private readonly ClientOptions $options,
        private readonly Transport $transport,
        private readonly Trackers $trackers,
    ) {
    }

    /**
     * @param string $key as trackers know it
     * @param array<string, string> $headers that every request to a tracker carries
     *
     *
     * @throws CisternException
     * @return array<mixed> the entry's JSON
     */
    public function upload(string $key, Body $body, PutOptions $options, array $headers): array
    {
        return ($body->size >= $this->options->directBytes ? $this->direct($key, $body, $options, $headers) : null)
            ?? $this->throughTracker($key, $body, $options, $headers);
    }

    /**
     * @param array<string, string> $headers
     *
     * @return array<mixed>
     */
    private function throughTracker(string $key, Body $body, PutOptions $options, array $headers): array
    {
        $headers += self::conditions($options) + [
            'Content-Type' => $options->contentType ?? '',
            'Repr-Digest' => 'sha-256=:' . base64_encode((string) hex2bin($body->sha256())) . ':',
            'Idempotency-Key' => $options->idempotencyKey ?? Api::idempotencyKey(),
        ];
        if ($options->class !== null) {
            $headers['Cistern-Class'] = $options->class;
        }
        if ($options->mtime !== null) {
            $headers['Cistern-Mtime'] = Api::time($options->mtime);
        }
        if ($options->meta !== []) {
            // Escaped to ASCII, as header fields have no other characters for sure.
            $headers['Cistern-Meta'] = json_encode($options->meta, \JSON_THROW_ON_ERROR);
        }
        $target = $this->target('files/' . Key::encode($key));

        return $this->trackers->call(new Request('PUT', '', $target, $headers, $body))->json() ?? [];
    }

    /**
     * @param array<string, string> $headers
     *
     * @return array<mixed>|null null: no storage node could take it
     */
    private function direct(string $key, Body $body, PutOptions $options, array $headers): ?array
    {
        $order = ['key' => $key, 'size' => $body->size];
        if ($options->class !== null) {
            $order['class'] = $options->class;
        }
        for ($i = 0; $i < self::NODES; ++$i) {
            $open = $this->json('POST', 'uploads', Body::ofJson($order), $headers);
            $url = \is_string($open['url'] ?? null) ? $open['url'] : '';
            $receipt = $this->send($url, $body);
            if ($receipt === null) {
                continue;
            }
            if (($receipt['sha256'] ?? null) !== $body->sentSha256()) {
                throw new Corrupt("The storage node got other bytes of '$key' than were sent. Nothing was stored.");
            }
            try {
                return $this->commit($receipt, $options, $headers);
            } catch (Conflict $e) {
                // The bytes waited too long for their commit, and were given up.
                if ($e->problem !== 'upload-void') {
                    throw $e;
                }
            }
        }

        return null;
    }

    /**
     * Sends the bytes to a ticketed URL.
     *
     * @return array<mixed>|null the receipt; null if this node does not take them
     */
    private function send(string $url, Body $body): ?array
    {
        if (preg_match('~^(https?://[^/]+)(/.*)$~', $url, $match) !== 1) {
            return null;
        }
        [, $node, $target] = $match;
        $breaker = $this->trackers->breaker;
        if ($breaker->isSuspect($node) && !($breaker->isProbe($node) && $breaker->mayProbe($node))) {
            return null;
        }
        $timeout = min($this->options->timeout, $this->trackers->deadline->left());
        if ($timeout <= 0) {
            throw new Unavailable('The time that may be lost to trackers and storage nodes is used up.');
        }
        try {
            $answer = $this->transport->exchange(new Request('PUT', $node, $target, [], $body, $timeout));
        } catch (TransportFailure $failure) {
            $this->trackers->broke($node, $failure);

            return null;
        }
        if ($answer->status >= 300) {
            $this->trackers->log('warning', "$node: " . Problems::exception($answer)->getMessage());

            return null;
        }
        $breaker->succeeded($node);

        return $answer->json();
    }

    /**
     * @param array<mixed> $receipt
     * @param array<string, string> $headers
     *
     * @return array<mixed>
     */
    private function commit(array $receipt, PutOptions $options, array $headers): array
    {
        $json = ['receipt' => $receipt];
        if ($options->contentType !== null) {
            $json['contentType'] = $options->contentType;
        }
        if ($options->mtime !== null) {
            $json['mtime'] = Api::time($options->mtime);
        }
        if ($options->meta !== []) {
            $json['meta'] = $options->meta;
        }
        $fid = \is_int($receipt['fid'] ?? null) ? $receipt['fid'] : 0;

        return $this->json('POST', "uploads/$fid/commit", Body::ofJson($json), $headers + self::conditions($options));
    }

    /**
     * @param non-empty-string $method
     * @param array<string, string> $headers
     *
     * @return array<mixed>
     */
    private function json(string $method, string $path, Body $body, array $headers): array
    {
        $headers['Content-Type'] = 'application/json';
        $request = new Request($method, '', $this->target($path), $headers, $body);

        return $this->trackers->call($request)->json() ?? [];
    }

    private function target(string $path): string
    {
        return '/v1/domains/' . rawurlencode($this->options->domain) . '/' . $path;
    }

    /**
     * @return array<string, string>
     */
    private static function conditions(PutOptions $options): array
    {
        return ($options->ifNoneMatch ? ['If-None-Match' => '*'] : [])
            + ($options->ifMatch === null ? [] : ['If-Match' => $options->ifMatch]);
    }
}
