<?php

declare(strict_types=1);

namespace Cistern\Transport;

use Cistern\Exception\InvalidRequest;

/**
 * What is sent to a server.
 */
final class Request
{
    /**
     * @param non-empty-string $method
     * @param string $server http://host:port, https://host or unix:/path/of.sock
     * @param string $target path and query, encoded
     * @param array<string, string> $headers by name
     *
     * @throws InvalidRequest if a header cannot be sent
     */
    public function __construct(
        public readonly string $method,
        public readonly string $server,
        public readonly string $target,
        public readonly array $headers = [],
        public readonly ?Body $body = null,
        public readonly float $timeout = 10.0,
    ) {
        foreach ($headers as $name => $value) {
            if (preg_match('/[\r\n\0]/', $value) === 1) {
                throw new InvalidRequest("The value for $name must not contain line breaks.");
            }
        }
    }

    /**
     * The same for another server.
     */
    public function to(string $server, float $timeout): self
    {
        return new self($this->method, $server, $this->target, $this->headers, $this->body, $timeout);
    }
}
