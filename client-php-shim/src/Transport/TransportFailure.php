<?php

declare(strict_types=1);

namespace Cistern\Transport;

/**
 * No answer came, or not all of it.
 */
final class TransportFailure extends \RuntimeException
{
    /**
     * @param bool $hung the server did not answer in time, as opposed to refusing or closing the connection
     * @param bool $sent the server may have got the request
     * @param float $waited seconds that were lost
     */
    public function __construct(
        string $message,
        public readonly bool $hung,
        public readonly bool $sent,
        public readonly float $waited,
    ) {
        parent::__construct($message);
    }
}
