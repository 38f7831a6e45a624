<?php

declare(strict_types=1);

namespace Cistern\Moving;

/**
 * What is looked up together, in one request.
 */
final class Batches
{
    private const SIZE = 500;

    /**
     * @template T
     *
     * @param iterable<string, T> $all
     *
     * @return \Generator<int, non-empty-array<string, T>>
     */
    public static function of(iterable $all): \Generator
    {
        $batch = [];
        foreach ($all as $key => $one) {
            $batch[$key] = $one;
            if (\count($batch) >= self::SIZE) {
                yield $batch;
                $batch = [];
            }
        }
        if ($batch !== []) {
            yield $batch;
        }
    }
}
