<?php

declare(strict_types=1);

namespace Cistern\Moving;

use Cistern\Exception\CisternException;

/**
 * Where files of a scheme may be that the store does not have.
 */
interface Tree
{
    /**
     * What is at a path; null if there is nothing that may be in the store.
     *
     * @throws CisternException if that cannot be told
     */
    public function find(string $path): ?LocalFile;

    /**
     * What a directory holds that may be in the store, as far as that can be told.
     *
     * @throws CisternException
     * @return iterable<LocalFile>
     */
    public function children(string $path): iterable;
}
