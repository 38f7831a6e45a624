<?php

declare(strict_types=1);

namespace Cistern;

use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\Corrupt;
use Cistern\Exception\InvalidRequest;
use Cistern\Exception\NotFound;
use Cistern\Exception\ReadOnlyStore;
use Cistern\Exception\Unauthorized;
use Cistern\Exception\Unavailable;
use Cistern\Transport\Response;

/**
 * Turns the errors of trackers and storage nodes (docs/http-api.md, RFC 9457) into exceptions.
 *
 * @internal
 */
final class Problems
{
    private const PREFIX = 'urn:cistern:problem:';

    /**
     * The error, whatever its status.
     */
    public static function exception(Response $response): CisternException
    {
        $json = $response->json() ?? [];
        $type = \is_string($json['type'] ?? null) ? $json['type'] : '';
        $problem = str_starts_with($type, self::PREFIX) ? substr($type, \strlen(self::PREFIX)) : null;
        $detail = \is_string($json['detail'] ?? null) ? $json['detail'] : "The answer was HTTP $response->status.";
        $class = match ($problem) {
            'digest-mismatch', 'replica-corrupt' => Corrupt::class,
            'insufficient-storage', 'other-environment' => ReadOnlyStore::class,
            default => self::byStatus($response->status, $problem),
        };
        $id = $response->headers['x-request-id'] ?? null;

        return new $class($detail, $problem, $response->status, $id);
    }

    /** Whether another tracker, or the same one later, may do what this one could not. */
    public static function isPassing(int $status): bool
    {
        return $status >= 500 && $status !== 507 && $status !== 501 || $status === 408 || $status === 429;
    }

    /** Whether a request with the same Idempotency-Key is being answered just now. */
    public static function isUnderWay(Response $response): bool
    {
        return $response->status === 409 && self::exception($response)->problem === 'state-conflict';
    }

    /**
     * @return class-string<CisternException>
     */
    private static function byStatus(int $status, ?string $problem): string
    {
        return match (true) {
            $status === 401, $status === 403 => Unauthorized::class,
            // A 404 that is not Cistern's own comes from something that is no tracker.
            $status === 404 => $problem === null ? Unavailable::class : match ($problem) {
                'domain-not-found', 'class-not-found' => InvalidRequest::class,
                default => NotFound::class,
            },
            $status === 409, $status === 412 => Conflict::class,
            $status === 405 => ReadOnlyStore::class,
            $status === 408, $status === 429, $status >= 500 => Unavailable::class,
            $status >= 400 => InvalidRequest::class,
            default => Unavailable::class,
        };
    }
}
