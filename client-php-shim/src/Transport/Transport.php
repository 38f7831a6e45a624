<?php

declare(strict_types=1);

namespace Cistern\Transport;

/**
 * One HTTP exchange with one server; what to do when it fails is for others to decide.
 */
interface Transport
{
    /**
     * Sends a request and takes the whole answer, whatever its status.
     *
     * @throws TransportFailure
     */
    public function exchange(Request $request): Response;

    /**
     * Sends a request and takes the head of the answer. The body is read from the download as it is wanted; that of an
     * error has been read.
     *
     * @throws TransportFailure
     */
    public function open(Request $request): Download;

    /**
     * How many requests were made.
     */
    public function calls(): int;
}
