<?php

declare(strict_types=1);

namespace Cistern\Exception;

/**
 * The name holds something else: it is taken, was changed meanwhile, is a directory where a file is wanted, or a
 * directory that is not empty (409, 412).
 */
final class Conflict extends CisternException
{
}
