<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\CisternException;
use Cistern\Exception\ReadOnlyStore;
use Cistern\Exception\Unavailable;
use Cistern\Transport\Body;
use Cistern\Transport\Request;
use Cistern\Transport\Response;

/**
 * The HTTP API of one domain (docs/http-api.md): what its requests have in common, and how keys and entries travel.
 *
 * @internal
 */
final class Api
{
    /** What stands before each key, with its slash. */
    private readonly string $prefix;

    public function __construct(private readonly ClientOptions $options, private readonly Trackers $trackers)
    {
        $this->prefix = $options->prefix === '' ? '' : $options->prefix . '/';
    }

    /**
     * @param non-empty-string $method
     * @param array<mixed>|object|null $json
     * @param array<string, string> $headers
     *
     * @throws CisternException
     * @return array<mixed>
     */
    public function json(string $method, string $path, array|object|null $json = null, array $headers = []): array
    {
        return $this->sendJson($method, $path, $json, $headers)->json()
            ?? throw new Unavailable('The tracker sent no JSON. Is there something else between?');
    }

    /**
     * The same for answers that have no body.
     *
     * @param non-empty-string $method
     * @param array<mixed>|object|null $json
     * @param array<string, string> $headers
     *
     * @throws CisternException
     */
    public function sendJson(string $method, string $path, array|object|null $json, array $headers = []): Response
    {
        if ($json !== null) {
            $headers['Content-Type'] = 'application/json';
        }

        return $this->send($method, $path, $json === null ? null : Body::ofJson($json), $headers);
    }

    /**
     * @param non-empty-string $method
     * @param array<string, string> $headers
     *
     * @throws CisternException
     */
    public function send(string $method, string $path, ?Body $body, array $headers): Response
    {
        $this->trackers->deadline->beginOperation();

        return $this->trackers->call(
            new Request($method, '', $this->target($path), $this->authorization() + $headers, $body),
        );
    }

    public function target(string $path): string
    {
        return '/v1/domains/' . rawurlencode($this->options->domain) . "/$path";
    }

    /**
     * @return array<string, string>
     */
    public function authorization(): array
    {
        $headers = ['Authorization' => 'Bearer ' . $this->options->token];

        return $this->options->environment === null
            ? $headers
            : $headers + ['Cistern-Environment' => $this->options->environment];
    }

    /**
     * For a request that changes something: by it a tracker knows a repetition.
     *
     * @return array<string, string>
     */
    public static function idempotency(): array
    {
        return ['Idempotency-Key' => self::idempotencyKey()];
    }

    public static function idempotencyKey(): string
    {
        return bin2hex(random_bytes(16));
    }

    /**
     * A time as the API takes it.
     */
    public static function time(\DateTimeInterface $time): string
    {
        $utc = (new \DateTimeImmutable('@' . $time->getTimestamp()))->format('Y-m-d\TH:i:s');

        return $utc . '.' . $time->format('v') . 'Z';
    }

    public function entry(mixed $json): Entry
    {
        return Entry::fromJson($json, $this->prefix);
    }

    /**
     * A key as trackers know it.
     */
    public function absolute(string $key): string
    {
        $absolute = $this->prefix . $key;
        Key::check($key === '' ? $key : $absolute);

        return $absolute;
    }

    /**
     * The same for a key that is to be written.
     */
    public function writable(string $key): string
    {
        $this->checkWritable($key);

        return $this->absolute($key);
    }

    /**
     * The same for a directory, where '' is the client's root.
     */
    public function directory(string $key): string
    {
        return $key === '' ? $this->options->prefix : $this->absolute($key);
    }

    public function checkWritable(string $key): void
    {
        if ($this->options->beforeWrite !== null) {
            ($this->options->beforeWrite)($key);
        }
        if ($this->options->readOnly) {
            throw new ReadOnlyStore('This client is set to be read-only (ClientOptions::$readOnly).');
        }
    }
}
