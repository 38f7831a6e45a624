<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\InvalidRequest;

/**
 * Clients as protocols: after StreamWrapper::register('cistern', $client), 'cistern://a/b.txt' is a file for PHP.
 */
final class StreamWrapper extends AbstractStreamWrapper
{
    /** @var array<string, Client> by protocol */
    private static array $clients = [];

    /**
     * Makes `$protocol://` mean the client's files; one that was registered here before is replaced.
     *
     * @param string $protocol two or more letters, digits, '+', '-', '.'
     * @param int $flags STREAM_IS_URL: code is never included from the store. 0 permits that, and also works
     *                   where php.ini has allow_url_fopen = 0
     *
     * @throws InvalidRequest
     */
    public static function register(string $protocol, Client $client, int $flags = \STREAM_IS_URL): void
    {
        if (preg_match('/^[a-z][a-z0-9+.-]+$/i', $protocol) !== 1) {
            throw new InvalidRequest("'$protocol' is no name for a protocol: two or more letters, digits, + - .");
        }
        if ($flags === \STREAM_IS_URL && !filter_var(\ini_get('allow_url_fopen'), \FILTER_VALIDATE_BOOL)) {
            throw new InvalidRequest('php.ini has allow_url_fopen = 0, which switches stream wrappers of this '
                . 'kind off. Set it to 1.');
        }
        self::unregister($protocol);
        if (!@stream_wrapper_register($protocol, self::class, $flags)) {
            throw new InvalidRequest("The protocol '$protocol' is taken.");
        }
        self::$clients[$protocol] = $client;
    }

    /**
     * Ends what register() began.
     */
    public static function unregister(string $protocol): void
    {
        if (isset(self::$clients[$protocol])) {
            stream_wrapper_unregister($protocol);
            unset(self::$clients[$protocol]);
        }
    }

    protected function locate(string $uri): array
    {
        $protocol = substr($uri, 0, (int) strpos($uri, '://'));
        $client = self::$clients[$protocol]
            ?? throw new InvalidRequest("No client is registered for '$protocol://'.");

        return [$client, Key::ofUri($uri)];
    }
}
