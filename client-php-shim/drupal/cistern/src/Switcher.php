<?php

declare(strict_types=1);

namespace Drupal\cistern;

use Cistern\Drupal\Store;
use Cistern\Drupal\SwitchFlag;
use Cistern\Drupal\WriteGuard;
use Cistern\Moving\Report;
use Drupal\Core\Database\Connection;
use Symfony\Component\Process\Process;

/**
 * Changes the side that all web heads work on, at once and without a gap.
 *
 * - New requests that may write wait; those at work end (grace).
 * - Nobody writes any more: the lock of writers is had alone. The last pass
 *   makes the new side what the old one is.
 * - All heads read on the new side, nobody writes yet: requests that still
 *   read on the old side end, and see nothing else there (grace).
 * - All heads write on the new side; what waited goes on there.
 *
 * If this process ends in between, heads go on by themselves on the side that
 * the flag names, when it was not renewed for a time.
 */
class Switcher {

  /**
   * Seconds after which heads do not wait any more for this process.
   */
  private const LEASE = 30;

  /**
   * The flag as it was set last.
   *
   * @var array{side: string, writes: string, until: int, id: string}
   */
  private array $flag;

  /**
   * When the flag was renewed last.
   */
  private int $renewed = 0;

  public function __construct(protected Mover $mover, protected Heads $heads, protected Connection $database, protected ?Store $store) {}

  /**
   * What the flag says.
   *
   * @return array{side: string, writes: string, until: int, id: string}
   *   As SwitchFlag::read().
   *
   * @throws \RuntimeException
   *   If there is no switch.
   */
  public function state(): array {
    if ($this->store?->options->isSwitched() !== TRUE) {
      throw new \RuntimeException("settings.php has no switch: give Cistern\\Drupal\\TakeOver::apply() switch: \$databases, on every web head.");
    }
    return $this->flag = SwitchFlag::read($this->database);
  }

  /**
   * Goes to a side.
   *
   * @param 'local'|'store' $side
   *   Where to.
   * @param bool $copy
   *   Whether to make a last pass. Without one the new side must be empty: the
   *   store, which then reads through.
   * @param bool $force
   *   Whether to go on though heads differ.
   * @param float $grace
   *   Seconds for requests at work.
   * @param (\Closure(string): void) $say
   *   Is told what is being done.
   * @param string $command
   *   Makes the last pass in its place, in a shell; '' for none. For web heads
   *   that have an old directory each: this one sees only its own.
   *
   * @return \Cistern\Moving\Report|null
   *   Of the last pass; NULL if a command made it.
   *
   * @throws \RuntimeException
   *   If it cannot be done, with why. All is as it was then.
   */
  public function to(string $side, bool $copy, bool $force, float $grace, \Closure $say, string $command = ''): ?Report {
    $before = $this->state();
    $this->checkHeads($force);
    if ($before['side'] === $side) {
      $this->set(['side' => $side, 'writes' => 'yes']);
      return new Report();
    }
    $go = function () use ($before, $side, $copy, $grace, $say, $command): ?Report {
      if (!$copy && $command === '' && ($side !== 'store' || $this->mover->storeHasFiles())) {
        throw new \RuntimeException($side === 'store'
          ? "The store has files of an earlier copy, which may be old by now: switch with the last pass (without --no-copy)."
          : "Only with the last pass do the old directories have what is in the store (without --no-copy).");
      }
      try {
        $this->drain($before['side'], $grace, $say);
        $report = NULL;
        if ($command !== '') {
          $this->runLastPass($command, $say);
        }
        else {
          $report = $copy ? $this->lastPass($side, $say) : new Report();
        }
        if ($side === 'store') {
          $this->mover->forgetTombstones();
        }
        $say("All heads go to $side");
        $this->change(['side' => $side, 'writes' => 'waiting']);
        $this->rest($grace);
        $this->change(['side' => $side, 'writes' => 'yes', 'until' => 0]);
      }
      catch (\Throwable $e) {
        // On whichever side it stands: both are alike, or nothing was changed.
        $writes = $this->flag['side'] === $before['side'] ? $before['writes'] : 'yes';
        SwitchFlag::replace($this->database, $this->flag, ['writes' => $writes, 'until' => 0] + $this->flag);
        throw $e;
      }
      if ($side === 'local') {
        $this->mover->forgetTombstones();
      }
      return $report;
    };
    // The command may pull on every head, each of which copies alone.
    return $command === '' ? $this->mover->alone($go) : $go();
  }

  /**
   * Lets nobody write any more, on either side.
   */
  public function readOnly(float $grace, \Closure $say): void {
    $before = $this->state();
    try {
      $this->drain($before['side'], $grace, $say);
      $this->change(['writes' => 'no', 'until' => 0]);
    }
    catch (\Throwable $e) {
      SwitchFlag::replace($this->database, $this->flag, ['writes' => $before['writes'], 'until' => 0] + $this->flag);
      throw $e;
    }
  }

  /**
   * Waits until nobody writes.
   */
  private function drain(string $side, float $grace, \Closure $say): void {
    $say('Requests at work end, new ones that write wait');
    $this->change(['side' => $side, 'writes' => 'draining', 'id' => bin2hex(random_bytes(6))]);
    $this->rest($grace);
    $this->change(['writes' => 'waiting']);
    if (!WriteGuard::waitForWriters(20.0)) {
      throw new \RuntimeException('A process still writes files: a long request, or a command that goes on for long, such as a queue worker. End it, then repeat this.');
    }
  }

  /**
   * Makes the new side what the old one is.
   */
  private function lastPass(string $side, \Closure $say): Report {
    $say('The last pass');
    $report = $this->mover->lastPass($side, fn() => $this->renew());
    if ($report->left > 0) {
      $first = array_key_first($report->failed);
      throw new \RuntimeException("$report->left files could not be copied" . ($first === NULL ? '' : " ($first: {$report->failed[$first]})") . '. The site stays where it is.');
    }
    return $report;
  }

  /**
   * Has a command make the new side what the old one is.
   */
  private function runLastPass(string $command, \Closure $say): void {
    $say("The last pass: $command");
    $process = Process::fromShellCommandline($command);
    $process->setTimeout(NULL);
    $process->start(fn(string $type, string $text) => $say(rtrim($text)));
    try {
      while ($process->isRunning()) {
        usleep(100000);
        $this->renew();
      }
    }
    finally {
      $process->stop();
    }
    if ($process->getExitCode() !== 0) {
      throw new \RuntimeException("The last pass ended with exit code {$process->getExitCode()}. The site stays where it is.");
    }
  }

  /**
   * Holds the flag for longer, now and then.
   */
  private function renew(): void {
    if (time() > $this->renewed + 5) {
      $this->change([]);
      $this->renewed = time();
    }
  }

  /**
   * Lets requests at work end.
   */
  private function rest(float $seconds): void {
    usleep((int) ($seconds * 1e6));
  }

  /**
   * Sets the flag, for as long as this process lives.
   *
   * @param array<string, mixed> $change
   *   What changes.
   */
  private function change(array $change): void {
    $new = $change + ['until' => time() + self::LEASE] + $this->flag;
    if (!SwitchFlag::replace($this->database, $this->flag, $new)) {
      throw new \RuntimeException('Somebody else has set the switch meanwhile, or this took too long. Look at it with drush cistern:switch, and repeat this.');
    }
    $this->flag = $new;
  }

  /**
   * Sets the flag for good.
   *
   * @param array<string, mixed> $change
   *   What changes.
   */
  private function set(array $change): void {
    $this->change($change + ['until' => 0]);
  }

  /**
   * Refuses to go on if heads differ.
   */
  private function checkHeads(bool $force): void {
    $differences = $this->heads->differences($this->heads->all());
    if ($differences !== [] && !$force) {
      $one = reset($differences);
      throw new \RuntimeException("The web head {$one['head']} differs: {$one['what']} is '{$one['there']}' there and '{$one['here']}' here. Give all heads the same code and the same line in settings.php; heads that are gone are forgotten after a day, or use --force.");
    }
  }

}
