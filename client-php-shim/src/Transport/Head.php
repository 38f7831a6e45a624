<?php

declare(strict_types=1);

namespace Cistern\Transport;

/**
 * Collects the head of an answer, line by line.
 *
 * @internal
 */
final class Head
{
    public int $status = 0;
    public bool $complete = false;
    /** @var array<string, string> */
    public array $headers = [];

    public function isError(): bool
    {
        return $this->status >= 400;
    }

    /**
     * Fits CURLOPT_HEADERFUNCTION.
     */
    public function line(string $line): int
    {
        $text = rtrim($line, "\r\n");
        if (preg_match('~^HTTP/\S+ (\d{3})~', $text, $match) === 1) {
            // An informational answer (1xx) may have come before this one.
            $this->status = (int) $match[1];
            $this->headers = [];
        } elseif ($text === '') {
            $this->complete = $this->status >= 200;
        } elseif (($colon = strpos($text, ':')) !== false) {
            $this->headers[strtolower(substr($text, 0, $colon))] = trim(substr($text, $colon + 1));
        }

        return \strlen($line);
    }
}
