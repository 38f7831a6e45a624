<?php

declare(strict_types=1);

namespace Cistern\Exception;

/**
 * There is nothing of that name (404).
 */
final class NotFound extends CisternException
{
}
