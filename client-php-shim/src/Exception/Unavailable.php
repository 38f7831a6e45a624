<?php

declare(strict_types=1);

namespace Cistern\Exception;

/**
 * No tracker could do it now: unreachable, too slow, or without what it needs (5xx, 408, 429). It may work later;
 * whether a write was done is unknown only where the message says so.
 */
final class Unavailable extends CisternException
{
}
