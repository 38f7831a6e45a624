<?php

declare(strict_types=1);

namespace Cistern\Exception;

/**
 * Bytes that arrived are not those that were sent.
 */
final class Corrupt extends CisternException
{
}
