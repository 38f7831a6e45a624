<?php

declare(strict_types=1);

namespace Cistern\Exception;

/**
 * The request cannot be done as it is, now or later: a bad key, a file that is too large (400, 411, 413, 415, 416).
 */
final class InvalidRequest extends CisternException
{
}
