<?php

declare(strict_types=1);

namespace Drupal\cistern;

use Cistern\Client;
use Cistern\Drupal\OldDirectories;
use Cistern\Drupal\Store;
use Cistern\Drupal\SwitchFlag;
use Cistern\Drupal\WriteGuard;
use Cistern\Moving\CopyIn;
use Cistern\Moving\CopyOut;
use Cistern\Moving\Limits;
use Cistern\Moving\Report;
use Cistern\Moving\Tombstones;
use Drupal\Core\Database\Connection;
use Drupal\Core\Site\Settings;

/**
 * Copies the site's files from the old directories into the store, and back.
 *
 * One process at a time. Which side counts is what the switch says when a pass
 * begins; without a switch it is the store.
 */
class Mover {

  public function __construct(protected Settings $settings, protected Connection $database, protected ?Store $store) {}

  /**
   * A pass into the store, for each scheme that has an old directory.
   *
   * @param \Cistern\Moving\Limits $limits
   *   How much and how fast.
   * @param bool $dry_run
   *   Only look.
   * @param list<string> $schemes
   *   Only these; none: all.
   * @param (\Closure(int): void)|null $progress
   *   Is told how many files were looked at since it was told last.
   *
   * @return array<string, \Cistern\Moving\Report>
   *   By scheme.
   *
   * @throws \RuntimeException
   *   If it cannot be done, with why.
   */
  public function copyIn(Limits $limits, bool $dry_run = FALSE, array $schemes = [], ?\Closure $progress = NULL): array {
    return $this->alone(fn(): array => $this->passes($schemes, fn(Client $client, string $scheme): Report => $this->passIn($client, $scheme, $this->isLocal(), $limits, $dry_run, $progress)));
  }

  /**
   * A pass into the old directories.
   *
   * @return array<string, \Cistern\Moving\Report>
   *   By scheme.
   *
   * @throws \RuntimeException
   *   If it cannot be done, with why.
   */
  public function copyOut(Limits $limits, bool $dry_run = FALSE, array $schemes = [], ?\Closure $progress = NULL): array {
    return $this->alone(function () use ($limits, $dry_run, $schemes, $progress): array {
      if ($this->isLocal()) {
        throw new \RuntimeException("The site works in its old directories (drush cistern:switch): they are newer than the store, nothing is pulled.");
      }
      return $this->passes($schemes, fn(Client $client, string $scheme): Report => $this->passOut($client, $scheme, $limits, $dry_run, $progress));
    });
  }

  /**
   * The last pass before sides are changed, while nobody writes.
   *
   * The caller holds the lock of copies.
   *
   * @param 'local'|'store' $to
   *   The side that the site goes to.
   * @param (\Closure(int): void)|null $progress
   *   As in copyIn().
   *
   * @return \Cistern\Moving\Report
   *   Of all schemes.
   */
  public function lastPass(string $to, ?\Closure $progress = NULL): Report {
    $sum = new Report();
    $passes = $this->passes([], fn(Client $client, string $scheme): Report => $to === 'store'
      ? $this->passIn($client, $scheme, TRUE, new Limits(), FALSE, $progress)
      : $this->passOut($client, $scheme, new Limits(), FALSE, $progress));
    foreach ($passes as $report) {
      $sum->add($report);
    }
    return $sum;
  }

  /**
   * Whether the store has files of schemes that have an old directory.
   */
  public function storeHasFiles(): bool {
    $client = $this->client();
    foreach (array_keys($this->trees()) as $scheme) {
      if ($client->stat($scheme, TRUE) === NULL) {
        continue;
      }
      foreach ($client->list($scheme, TRUE) as $entry) {
        if ($entry->isFile() && !str_starts_with($entry->name(), '.')) {
          return TRUE;
        }
      }
    }
    return FALSE;
  }

  /**
   * Forgets what was deleted: the old directories count as they are.
   */
  public function forgetTombstones(): void {
    (new Tombstones($this->client()))->clear();
  }

  /**
   * Does something as the only process that copies.
   *
   * @param callable(): T $operation
   *   What to do.
   *
   * @return T
   *   What it returned.
   *
   * @template T
   */
  public function alone(callable $operation): mixed {
    if ($this->trees() === []) {
      throw new \RuntimeException("settings.php names no old directory: give Cistern\\Drupal\\TakeOver::apply() fallback: ['public' => '/old/files'].");
    }
    if (!WriteGuard::lockCopy()) {
      throw new \RuntimeException('Another copy, pull or switch of this site is at work: wait for it, or end it.');
    }
    try {
      return $operation();
    }
    finally {
      WriteGuard::unlockCopy();
    }
  }

  /**
   * Whether the site works in its old directories, as things are now.
   */
  public function isLocal(): bool {
    return $this->store?->options->isSwitched() === TRUE && SwitchFlag::read($this->database)['side'] === 'local';
  }

  /**
   * A client that no switch keeps from writing.
   */
  public function client(): Client {
    if ($this->store === NULL) {
      throw new \RuntimeException('settings.php does not call Cistern\Drupal\TakeOver::apply() on this web head.');
    }
    return $this->store->options->toolClient();
  }

  /**
   * The old directories.
   *
   * @return array<string, \Cistern\Moving\LocalTree>
   *   By scheme.
   */
  public function trees(): array {
    return $this->store === NULL ? [] : array_filter(OldDirectories::trees($this->settings), $this->store->options->isMoved(...), ARRAY_FILTER_USE_KEY);
  }

  /**
   * One pass for each scheme.
   */
  private function passes(array $schemes, callable $pass): array {
    $client = $this->client();
    $reports = [];
    foreach (array_keys($this->trees()) as $scheme) {
      if ($schemes === [] || in_array($scheme, $schemes, TRUE)) {
        $reports[$scheme] = $pass($client, $scheme);
      }
    }
    return $reports;
  }

  /**
   * One pass of one scheme into the store.
   */
  private function passIn(Client $client, string $scheme, bool $mirror, Limits $limits, bool $dry_run, ?\Closure $progress): Report {
    return (new CopyIn($client, $this->trees()[$scheme], $scheme, $mirror, $dry_run, $limits, $progress))->run();
  }

  /**
   * One pass of one scheme into its old directory.
   */
  private function passOut(Client $client, string $scheme, Limits $limits, bool $dry_run, ?\Closure $progress): Report {
    return (new CopyOut($client, $this->trees()[$scheme], $scheme, $dry_run, $limits, $progress))->run();
  }

}
