<?php

declare(strict_types=1);

namespace Cistern\Exception;

/**
 * The token is missing, unknown, expired, or does not permit this (401, 403).
 */
final class Unauthorized extends CisternException
{
}
