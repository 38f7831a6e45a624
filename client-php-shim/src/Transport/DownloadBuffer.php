<?php

declare(strict_types=1);

namespace Cistern\Transport;

/**
 * What of a download has come and was not read yet. An object of its own, so that curl's callback holds neither the
 * download nor the handle, and both are freed when they are not used any more.
 *
 * @internal
 */
final class DownloadBuffer
{
    public bool $paused = false;
    private bool $discard = false;
    private string $bytes = '';
    private int $at = 0;

    /**
     * Fits CURLOPT_WRITEFUNCTION: the bytes taken, or a sign that curl has to wait and bring them again.
     */
    public function take(string $bytes, int $enough): int
    {
        if ($this->discard) {
            return \strlen($bytes);
        }
        if ($this->length() >= $enough) {
            $this->paused = true;

            return \CURL_WRITEFUNC_PAUSE;
        }
        $this->bytes = $this->length() === 0 ? $bytes : substr($this->bytes, $this->at) . $bytes;
        $this->at = 0;

        return \strlen($bytes);
    }

    public function length(): int
    {
        return \strlen($this->bytes) - $this->at;
    }

    public function give(int $length): string
    {
        $bytes = substr($this->bytes, $this->at, $length);
        $this->at += \strlen($bytes);

        return $bytes;
    }

    public function discardAll(): void
    {
        $this->discard = true;
        $this->bytes = '';
        $this->at = 0;
    }
}
