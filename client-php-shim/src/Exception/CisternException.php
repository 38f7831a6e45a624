<?php

declare(strict_types=1);

namespace Cistern\Exception;

/**
 * What every method of the client may throw; the classes below tell the reasons apart.
 */
class CisternException extends \RuntimeException
{
    /**
     * @param string $message what is wrong, where, and what to do
     * @param string|null $problem the tracker's name for it ('precondition-failed'), where it came from a tracker
     * @param int $status HTTP status; 0 without an answer
     * @param string|null $requestId under which the logs of trackers and storage nodes speak of it
     */
    final public function __construct(
        string $message,
        public readonly ?string $problem = null,
        public readonly int $status = 0,
        public readonly ?string $requestId = null,
        ?\Throwable $previous = null,
    ) {
        parent::__construct($message, $status, $previous);
    }
}
