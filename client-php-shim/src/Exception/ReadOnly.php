<?php

declare(strict_types=1);

namespace Cistern\Exception;

/**
 * The store can be read, and takes no writes: it is full, or this client is set so.
 */
final class ReadOnly extends CisternException
{
}
