<?php

declare(strict_types=1);

namespace Cistern\Transport;

/**
 * HTTP/1.1 by ext-curl: connections and TLS sessions are shared by all requests of the process, and small exchanges
 * use one handle again and again. No connection is used on both sides of a fork.
 */
final class CurlTransport implements Transport
{
    /** Bodies up to this size are handed to curl in one piece. */
    private const SMALL = 65536;
    /** A server may need this time to make durable what it has taken, beside the timeout: bytes a second. */
    private const DURABLE_BYTES = 16777216;

    private ?\CurlShareHandle $share = null;
    private ?\CurlHandle $easy = null;
    private int $pid = 0;
    private int $calls = 0;
    public function __construct(
        private readonly float $connectTimeout,
        private readonly ?string $tlsCaFile = null,
    ) {
    }

    public function calls(): int
    {
        return $this->calls;
    }

    public function exchange(Request $request): Response
    {
        $this->leaveParent();
        // A body that is itself read over this transport may need the handle meanwhile.
        $curl = $this->easy ?? curl_init();
        $this->easy = null;
        if ($curl === false) {
            throw new TransportFailure('curl cannot be started', false, false, 0.0);
        }
        $head = new Head();
        ++$this->calls;
        $started = microtime(true);
        try {
            $body = $request->body;
            $small = $body === null ? '' : ($body->size <= self::SMALL ? $body->bytes() : null);
            $this->prepare($curl, $request, $head);
            if ($body === null || $small !== null) {
                curl_setopt($curl, \CURLOPT_TIMEOUT_MS, self::milliseconds($request->timeout));
                if ($body !== null) {
                    curl_setopt($curl, \CURLOPT_POSTFIELDS, $small);
                }
                $answer = curl_exec($curl);
                $code = curl_errno($curl);
                $waited = microtime(true) - $started;
            } else {
                [$code, $answer, $waited] = $this->upload($curl, $body, $request);
            }
            // An answer that refuses an upload may come, and the connection end, before all was sent.
            if ($code !== \CURLE_OK && !($code === \CURLE_SEND_ERROR && $head->complete && $head->isError())) {
                throw self::failure($curl, $code, $request, $waited);
            }
            if (!$head->complete) {
                throw new TransportFailure("$request->server ended its answer too early", false, true, $waited);
            }

            return new Response($head->status, $head->headers, \is_string($answer) ? $answer : '', $waited);
        } finally {
            // Options hold closures, which hold what they were made with.
            curl_reset($curl);
            $this->easy = $curl;
        }
    }

    public function open(Request $request): Download
    {
        $this->leaveParent();
        $curl = curl_init();
        if ($curl === false) {
            throw new TransportFailure('curl cannot be started', false, false, 0.0);
        }
        $head = new Head();
        ++$this->calls;
        $this->prepare($curl, $request, $head);

        return new Download($curl, $head, $request);
    }

    /**
     * A handle for a transfer that its caller runs beside others. Its body and time limits are the caller's.
     */
    public function handle(Request $request, Head $head): \CurlHandle
    {
        $this->leaveParent();
        $curl = curl_init();
        if ($curl === false) {
            throw new TransportFailure('curl cannot be started', false, false, 0.0);
        }
        ++$this->calls;
        $this->prepare($curl, $request, $head);

        return $curl;
    }

    /**
     * What went wrong, in words for people. No address is in them but the server's own.
     */
    public static function failure(\CurlHandle $curl, int $code, Request $request, float $waited): TransportFailure
    {
        $why = curl_error($curl);
        $why = $why === '' ? (string) curl_strerror($code) : $why;
        $server = $request->server;
        // 0 until a connection stands, which for https includes TLS.
        $connected = curl_getinfo($curl, \CURLINFO_PRETRANSFER_TIME) > 0;
        if ($code === \CURLE_OPERATION_TIMEOUTED) {
            $what = $connected ? 'did not answer in time' : 'could not be connected in time';

            return new TransportFailure("$server $what", true, $connected, $waited);
        }

        return new TransportFailure("$server: $why", false, $connected, $waited);
    }

    /**
     * How the only transfer of a multi handle ended: one of CURLE_…
     */
    public static function result(\CurlMultiHandle $multi): int
    {
        $info = curl_multi_info_read($multi);

        return $info !== false && \is_int($info['result']) ? $info['result'] : \CURLE_OK;
    }

    private function prepare(\CurlHandle $curl, Request $request, Head $head): void
    {
        $headers = [];
        foreach ($request->headers + ['Expect' => '', 'Content-Type' => ''] as $name => $value) {
            // A name without a value keeps curl from sending a value of its own.
            $headers[] = rtrim("$name: $value");
        }
        $unix = substr($request->server, 0, 5) === 'unix:' ? substr($request->server, 5) : '';
        curl_setopt_array($curl, [
            \CURLOPT_URL => ($unix === '' ? $request->server : 'http://localhost') . '/' . ltrim($request->target, '/'),
            \CURLOPT_CUSTOMREQUEST => $request->method,
            \CURLOPT_HTTPHEADER => $headers,
            \CURLOPT_HEADERFUNCTION => static fn ($_, string $line): int => $head->line($line),
            \CURLOPT_RETURNTRANSFER => true,
            \CURLOPT_SHARE => $this->share(),
            \CURLOPT_CONNECTTIMEOUT_MS => self::milliseconds($this->connectTimeout),
            \CURLOPT_HTTP_VERSION => \CURL_HTTP_VERSION_1_1,
            \CURLOPT_PROTOCOLS => \CURLPROTO_HTTP | \CURLPROTO_HTTPS,
            \CURLOPT_NOSIGNAL => true,
            \CURLOPT_NOPROXY => '*',
            \CURLOPT_PATH_AS_IS => true,
            \CURLOPT_USERAGENT => 'cistern-php',
        ]);
        if ($unix !== '') {
            curl_setopt($curl, \CURLOPT_UNIX_SOCKET_PATH, $unix);
        }
        if ($this->tlsCaFile !== null && $this->tlsCaFile !== '') {
            curl_setopt($curl, \CURLOPT_CAINFO, $this->tlsCaFile);
        }
    }

    /**
     * Sends a body piece by piece. The pieces are read between curl's steps, not within: reading may use curl too.
     *
     * @return array{int, string, float} curl's result, the answer's body, seconds in which no body moved
     */
    private function upload(\CurlHandle $curl, Body $body, Request $request): array
    {
        $body->rewind();
        $piece = $body->next();
        $paused = false;
        $taken = 0;
        $read = static function ($_, $__, int $length) use (&$piece, &$paused, &$taken, $body): string|int {
            if ($piece === '' && !$body->eof()) {
                $paused = true;

                return \CURL_READFUNC_PAUSE;
            }
            $part = substr($piece, 0, $length);
            $piece = substr($piece, \strlen($part));
            $taken += \strlen($part);

            return $part;
        };
        curl_setopt_array($curl, [
            \CURLOPT_UPLOAD => true,
            \CURLOPT_INFILESIZE => $body->size,
            \CURLOPT_UPLOAD_BUFFERSIZE => 262144,
            \CURLOPT_READFUNCTION => $read,
        ]);
        $multi = curl_multi_init();
        curl_multi_add_handle($multi, $curl);
        $lost = 0.0;
        $moved = microtime(true);
        try {
            while (true) {
                $left = \strlen($piece);
                curl_multi_exec($multi, $running);
                if ($running === 0) {
                    break;
                }
                if ($piece === '' && !$body->eof()) {
                    $piece = $body->next();
                }
                if ($paused && $piece !== '') {
                    $paused = false;
                    curl_pause($curl, \CURLPAUSE_CONT);
                }
                $now = microtime(true);
                if (\strlen($piece) !== $left) {
                    $moved = $now;
                    continue;
                }
                // A disk that is behind with its writing stops a large upload anywhere, for as long as it needs.
                $end = $moved + $request->timeout + $taken / self::DURABLE_BYTES;
                if ($now >= $end) {
                    return [\CURLE_OPERATION_TIMEOUTED, '', $now - $moved];
                }
                curl_multi_select($multi, min(1.0, $end - $now));
            }
            $lost = microtime(true) - $moved;

            return [self::result($multi), (string) curl_multi_getcontent($curl), $lost];
        } finally {
            curl_multi_remove_handle($multi, $curl);
            curl_multi_close($multi);
        }
    }

    private function share(): \CurlShareHandle
    {
        if ($this->share === null) {
            $this->share = curl_share_init();
            foreach ([\CURL_LOCK_DATA_DNS, \CURL_LOCK_DATA_SSL_SESSION, \CURL_LOCK_DATA_CONNECT] as $what) {
                curl_share_setopt($this->share, \CURLSHOPT_SHARE, $what);
            }
        }

        return $this->share;
    }

    private function leaveParent(): void
    {
        $pid = (int) getmypid();
        if ($pid === $this->pid) {
            return;
        }
        Abandoned::keep($this->easy, $this->share);
        $this->easy = null;
        $this->share = null;
        $this->pid = $pid;
    }

    private static function milliseconds(float $seconds): int
    {
        return max(1, (int) ceil($seconds * 1000));
    }
}
