<?php

declare(strict_types=1);

namespace Cistern\Transport;

/**
 * An answer whose body comes as it is read: curl is paused while enough of it waits in memory.
 */
final class Download
{
    /** Bytes that may wait in memory before the connection is paused. */
    private const ENOUGH = 262144;
    /** An early end costs the connection; less than this is rather read to the end. */
    private const DRAIN = 65536;
    /** Bodies of errors are not longer. */
    private const ERROR_BYTES = 65536;

    public readonly Response $head;
    private readonly \CurlMultiHandle $multi;
    private readonly DownloadBuffer $buffer;
    private readonly int $pid;
    private bool $attached = true;
    /** Bytes of the body that have been given out. */
    private int $given = 0;
    /** Seconds that reading has waited, in all. */
    private float $waited = 0.0;

    /**
     * @internal made by CurlTransport
     *
     * @throws TransportFailure
     */
    public function __construct(
        private readonly \CurlHandle $curl,
        private readonly Head $lines,
        private readonly Request $request,
    ) {
        $this->pid = (int) getmypid();
        $this->buffer = $buffer = new DownloadBuffer();
        curl_setopt_array($curl, [
            \CURLOPT_BUFFERSIZE => 131072,
            \CURLOPT_WRITEFUNCTION => static fn ($_, string $bytes): int => $buffer->take($bytes, self::ENOUGH),
        ]);
        $this->multi = curl_multi_init();
        curl_multi_add_handle($this->multi, $curl);
        $this->pump(true);
        if (!$lines->complete) {
            throw new TransportFailure("$request->server ended its answer too early", false, true, $this->waited);
        }
        $body = '';
        if ($lines->isError()) {
            while (\strlen($body) < self::ERROR_BYTES && ($more = $this->read(8192)) !== '') {
                $body .= $more;
            }
            $this->close();
        }
        $this->head = new Response($lines->status, $lines->headers, $body, $this->waited);
    }

    public function __destruct()
    {
        $this->close();
    }

    /**
     * False in a child of the process that opened it: it belongs to the parent, and nothing must be read from it.
     */
    public function isOurs(): bool
    {
        return $this->pid === getmypid();
    }

    /**
     * Up to $length bytes of what has come, at least one; '' only at the end of the body.
     *
     * @throws TransportFailure if the body does not come, or ends too early
     */
    public function read(int $length): string
    {
        if ($this->buffer->length() === 0) {
            $this->pump(false);
        }
        $bytes = $this->buffer->give($length);
        $this->given += \strlen($bytes);

        return $bytes;
    }

    /**
     * Gives the connection back, for another request if the body was read or little of it is left.
     */
    public function close(): void
    {
        if (!$this->attached) {
            return;
        }
        if (!$this->isOurs()) {
            Abandoned::keep($this->curl, $this->multi);
            $this->attached = false;

            return;
        }
        try {
            if ($this->left() <= self::DRAIN) {
                $this->buffer->discardAll();
                curl_pause($this->curl, \CURLPAUSE_CONT);
                // Only what has arrived: closing must not wait.
                curl_multi_exec($this->multi, $running);
                curl_multi_exec($this->multi, $running);
            }
        } finally {
            $this->detach();
        }
    }

    private function left(): int
    {
        $length = $this->lines->headers['content-length'] ?? null;

        return $length === null ? \PHP_INT_MAX : (int) $length - $this->given - $this->buffer->length();
    }

    /**
     * Lets curl work until something is there, or the transfer has ended.
     *
     * @param bool $head the head is enough
     *
     * @throws TransportFailure
     */
    private function pump(bool $head): void
    {
        $started = microtime(true);
        while ($this->attached && !$this->isThere($head)) {
            if ($this->buffer->paused) {
                $this->buffer->paused = false;
                curl_pause($this->curl, \CURLPAUSE_CONT);
            }
            curl_multi_exec($this->multi, $running);
            $waited = microtime(true) - $started;
            if ($running === 0) {
                $code = CurlTransport::result($this->multi);
                $failure = $code === \CURLE_OK
                    ? null
                    : CurlTransport::failure($this->curl, $code, $this->request, $waited);
                $this->detach();
                if ($failure !== null) {
                    throw $failure;
                }
                break;
            }
            if ($waited >= $this->request->timeout) {
                $failure = CurlTransport::failure($this->curl, \CURLE_OPERATION_TIMEOUTED, $this->request, $waited);
                $this->detach();
                throw $failure;
            }
            // With something there, the loop ends; without, there is nothing to do until the network moves.
            if (!$this->isThere($head)) {
                curl_multi_select($this->multi, min(1.0, $this->request->timeout - $waited));
            }
        }
        $this->waited += microtime(true) - $started;
    }

    /**
     * @phpstan-impure curl's callbacks change it
     */
    private function isThere(bool $head): bool
    {
        return $head ? $this->lines->complete : $this->buffer->length() > 0;
    }

    private function detach(): void
    {
        if ($this->attached) {
            $this->attached = false;
            curl_multi_remove_handle($this->multi, $this->curl);
            curl_multi_close($this->multi);
        }
    }
}
