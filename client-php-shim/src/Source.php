<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\CisternException;
use Cistern\Exception\InvalidRequest;
use Cistern\Transport\Body;

/**
 * What somebody gave to be stored, in a form that can be sent more than once.
 *
 * @internal
 */
final class Source
{
    public readonly Body $body;
    /** Must live as long as the body. */
    private ?Spool $spool = null;

    /**
     * @param string|resource $source
     *
     * @throws CisternException
     */
    public function __construct(mixed $source, ClientOptions $options)
    {
        if (\is_string($source)) {
            $this->body = Body::ofString($source);
        } elseif (!\is_resource($source)) {
            throw new InvalidRequest('What is to be stored must be a string or an open stream.');
        } elseif (stream_get_meta_data($source)['seekable']) {
            $this->body = Body::ofStream($source);
        } else {
            $this->spool = new Spool($options->spoolMemory, $options->spoolDirectory);
            $this->body = Body::ofStream(self::drain($source, $this->spool));
        }
    }

    /**
     * Reads what cannot be rewound, and so could not be sent again.
     *
     * @param resource $source
     *
     * @return resource
     */
    private static function drain(mixed $source, Spool $spool): mixed
    {
        while (!feof($source)) {
            $bytes = fread($source, 65536);
            if ($bytes === false) {
                throw new InvalidRequest('The stream that is to be stored cannot be read.');
            }
            $spool->write($bytes);
        }

        return $spool->contents();
    }
}
