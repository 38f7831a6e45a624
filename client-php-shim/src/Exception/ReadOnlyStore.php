<?php

declare(strict_types=1);

namespace Cistern\Exception;

/**
 * The store can be read, and takes no writes: it is full (507), or this client is set so. ('ReadOnly' is a reserved
 * word of PHP.)
 */
final class ReadOnlyStore extends CisternException
{
}
