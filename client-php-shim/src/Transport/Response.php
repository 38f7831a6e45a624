<?php

declare(strict_types=1);

namespace Cistern\Transport;

/**
 * What a server answered.
 */
final class Response
{
    /**
     * @param array<string, string> $headers by name in lower case
     * @param float $waited seconds in which no body moved
     */
    public function __construct(
        public readonly int $status,
        public readonly array $headers,
        public readonly string $body,
        public readonly float $waited,
    ) {
    }

    /**
     * The body's JSON; null if it is none.
     *
     * @return array<mixed>|null
     */
    public function json(): ?array
    {
        $json = json_decode($this->body, true);

        return \is_array($json) ? $json : null;
    }
}
