<?php

declare(strict_types=1);

namespace Cistern\Moving;

use Cistern\Client;
use Cistern\Entry;
use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\NotFound;
use Cistern\Transport\Response;

/**
 * A pass that copies a local directory into the store. It can be ended and begun again at any time: each pass looks
 * what is there, and does what is missing.
 *
 * Who writes the directory decides how. While the site works on the directory, the store becomes a mirror of it: what
 * changed is replaced, what is gone is removed. Once the site works in the store, only what is missing is added, never
 * over what the site has written or deleted there (see OldFiles).
 */
final class CopyIn
{
    /** Larger files are sent one by one, from the disk. */
    private const TOGETHER = 8388608;

    private readonly Transfers $transfers;
    private readonly Tombstones $tombstones;
    private readonly FileSender $sender;
    private Report $report;

    /**
     * @param string $scheme first segment of the keys: 'public'
     * @param bool $mirror whether the site works on the directory
     * @param bool $dryRun only look
     * @param (\Closure(int): void)|null $progress is told how many files were looked at since it was told last
     */
    public function __construct(
        private readonly Client $client,
        private readonly LocalTree $tree,
        private readonly string $scheme,
        private readonly bool $mirror,
        private readonly bool $dryRun = false,
        private readonly Limits $limits = new Limits(),
        private readonly ?\Closure $progress = null,
    ) {
        $this->transfers = new Transfers($client->options, $limits->parallel);
        $this->tombstones = new Tombstones($client);
        $this->sender = new FileSender($client, $tree, $this->transfers, $mirror);
        $this->report = new Report();
    }

    /**
     * @throws CisternException if nothing more can be done
     */
    public function run(): Report
    {
        $started = microtime(true);
        $this->report = new Report();
        $seen = 0;
        foreach (Batches::of($this->local()) as $batch) {
            $seen += \count($batch);
            $this->batch($batch);
        }
        if ($this->mirror) {
            $this->removeGone($seen);
        }
        $this->report->seconds = microtime(true) - $started;

        return $this->report;
    }

    /**
     * @return \Generator<string, LocalFile> by key
     */
    private function local(): \Generator
    {
        foreach ($this->tree->files($this->report->skip(...)) as $file) {
            yield "$this->scheme/$file->path" => $file;
        }
    }

    /**
     * @param array<string, LocalFile> $files by key
     */
    private function batch(array $files): void
    {
        $missing = $changed = [];
        foreach ($this->client->statMany(array_keys($files), true) as $key => $entry) {
            $file = $files[$key];
            if ($entry === null) {
                $missing[$key] = $file;
            } elseif (!$this->mirror || $this->isSame($entry, $file)) {
                ++$this->report->there;
            } else {
                $changed[$key] = [$file, $entry];
            }
        }
        if ($missing !== [] && !$this->mirror) {
            $gone = $this->tombstones->of(array_keys($missing));
            $this->report->gone += \count(array_filter($gone));
            $missing = array_filter($missing, static fn (string $key): bool => !$gone[$key], \ARRAY_FILTER_USE_KEY);
        }
        if ($this->dryRun) {
            $this->report->left += \count($missing) + \count($changed);
            $this->report->bytes += array_sum(array_map(static fn (LocalFile $file): int => $file->size, $missing));
        } else {
            $this->copy($missing, $changed);
        }
        if ($this->progress !== null) {
            ($this->progress)(\count($files));
        }
    }

    private function isSame(Entry $entry, LocalFile $file): bool
    {
        if ($entry->isDirectory || $entry->size !== $file->size) {
            return false;
        }

        return (int) floor($entry->mtime) === $file->mtime && !isset($entry->meta['recent'])
            || !$this->dryRun && $this->hasSameBytes($entry, $file);
    }

    /** Compares the bytes, and keeps the file's time, so that the next pass need not. */
    private function hasSameBytes(Entry $entry, LocalFile $file): bool
    {
        if (@hash_file('sha256', $file->local) !== $entry->sha256) {
            return false;
        }
        $mtime = new \DateTimeImmutable("@$file->mtime");
        $this->client->patch($entry->key, mtime: $mtime, meta: FileSender::meta($file));

        return true;
    }

    /**
     * @param array<string, LocalFile> $missing
     * @param array<string, array{LocalFile, Entry}> $changed
     */
    private function copy(array $missing, array $changed): void
    {
        /** @var list<array{string, LocalFile, Entry|null}> $large */
        $large = [];
        $arrived = [];
        $all = [];
        foreach ($missing as $key => $file) {
            $all[] = [$key, $file, null];
        }
        foreach ($changed as $key => [$file, $entry]) {
            $all[] = [$key, $file, $entry];
        }
        $requests = function () use ($all, &$large): \Generator {
            foreach ($all as $one) {
                $file = $one[1];
                if (!$this->limits->take($file->size)) {
                    ++$this->report->left;
                } elseif ($file->size > self::TOGETHER) {
                    $large[] = $one;
                } elseif (($request = $this->sender->request(...$one, report: $this->report)) !== null) {
                    yield [$one, $request];
                }
            }
        };
        $done = function (array $one, Response|CisternException $result) use (&$arrived): void {
            /** @var array{string, LocalFile, Entry|null} $one */
            if ($this->isStored($one, $result)) {
                $arrived[$one[0]] = $one[1];
            }
        };
        $this->transfers->run($requests(), $done);
        foreach ($large as $one) {
            if ($this->isStored($one, $this->sender->sendLarge(...$one, report: $this->report))) {
                $arrived[$one[0]] = $one[1];
            }
        }
        if (!$this->mirror && $arrived !== []) {
            $this->moveIn($arrived);
        }
    }

    /**
     * @param array{string, LocalFile, Entry|null} $one
     */
    private function isStored(array $one, Response|CisternException|bool $result): bool
    {
        [, $file, $entry] = $one;
        if ($result instanceof Conflict) {
            // Somebody was quicker; the next pass looks again.
            ++$this->report->left;

            return false;
        }
        if ($result instanceof CisternException) {
            $this->report->fail($file->path, $result->getMessage());

            return false;
        }
        if ($result === false) {
            return false;
        }
        if ($this->mirror) {
            $entry === null ? ++$this->report->copied : ++$this->report->replaced;
            $this->report->bytes += $file->size;
        }

        return true;
    }

    /**
     * The second and the third step of OldFiles, for many files at a time.
     *
     * @param array<string, LocalFile> $files by key
     */
    private function moveIn(array $files): void
    {
        $gone = $this->tombstones->of(array_keys($files));
        $requests = function () use ($files, $gone): \Generator {
            foreach ($files as $key => $file) {
                if (!$gone[$key]) {
                    yield [$key, $this->transfers->move(OldFiles::incoming($key), $key)];
                }
            }
        };
        $done = function (string $key, Response|CisternException $result) use ($files): void {
            if ($result instanceof Response) {
                ++$this->report->copied;
                $this->report->bytes += $files[$key]->size;
            } elseif ($result instanceof Conflict) {
                ++$this->report->there;
                $this->drop($key);
            } elseif ($result instanceof NotFound) {
                // The site deleted it, or brought it in itself.
                ++$this->report->gone;
            } else {
                $this->report->fail($files[$key]->path, $result->getMessage());
            }
        };
        $this->transfers->run($requests(), $done);
        foreach (array_keys(array_filter($gone)) as $key) {
            ++$this->report->gone;
            $this->drop($key);
        }
    }

    private function drop(string $key): void
    {
        try {
            $this->client->delete(OldFiles::incoming($key));
        } catch (NotFound) {
            // The site was quicker.
        }
    }

    /**
     * Removes what the directory does not have any more.
     *
     * @param int $seen how many files the directory has
     *
     * @throws CisternException
     */
    private function removeGone(int $seen): void
    {
        $gone = [];
        foreach (StoredFiles::of($this->client, $this->scheme) as $key => $entry) {
            if ($this->tree->find(substr($key, \strlen($this->scheme) + 1)) === null) {
                $gone[] = $entry;
            }
        }
        if ($gone !== [] && $seen === 0) {
            throw new CisternException("The directory {$this->tree->root} has no files, but the store has some of "
                . 'them. Is it mounted? Nothing was removed from the store.');
        }
        if ($this->dryRun) {
            $this->report->left += \count($gone);

            return;
        }
        $requests = array_map(fn (Entry $one): array => [$one, $this->transfers->delete($one->key, $one->etag)], $gone);
        $this->transfers->run($requests, function (Entry $entry, Response|CisternException $result): void {
            if ($result instanceof Response) {
                ++$this->report->removed;
            } elseif (!$result instanceof NotFound) {
                $this->report->fail($entry->key, $result->getMessage());
            }
        });
    }
}
