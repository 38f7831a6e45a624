<?php

declare(strict_types=1);

namespace Drupal\cistern\Drush\Commands;

use Cistern\Moving\Limits;
use Cistern\Moving\Report;
use Consolidation\AnnotatedCommand\CommandResult;
use Consolidation\OutputFormatters\StructuredData\RowsOfFields;
use Drupal\cistern\Mover;
use Drupal\cistern\Switcher;
use Drupal\cistern\Verifier;
use Drush\Attributes as CLI;
use Drush\Commands\AutowireTrait;
use Drush\Commands\DrushCommands;
use Symfony\Component\Console\Helper\ProgressBar;

/**
 * Drush commands that move a live site into the store, and out again.
 */
final class MovingCommands extends DrushCommands {

  use AutowireTrait;

  /**
   * Options of both ways, and their defaults.
   */
  private const PASS = [
    'dry-run' => FALSE,
    'scheme' => '',
    'limit' => 0,
    'time' => 0,
    'rate' => 0,
    'parallel' => 8,
  ];

  /**
   * Options of the switch, and their defaults.
   */
  private const SWITCH = [
    'copy' => TRUE,
    'last-pass' => '',
    'force' => FALSE,
    'grace' => 2.0,
  ];

  public function __construct(
    private readonly Mover $mover,
    private readonly Switcher $switcher,
    private readonly Verifier $verifier,
  ) {
    parent::__construct();
  }

  /**
   * Copies the old directories into the store, while the site is at work.
   */
  #[CLI\Command(name: 'cistern:copy-local')]
  #[CLI\Option(name: 'dry-run', description: 'Only look what would be copied.')]
  #[CLI\Option(name: 'scheme', description: 'Only public, or only private files.')]
  #[CLI\Option(name: 'limit', description: 'Copy at most so many files.')]
  #[CLI\Option(name: 'time', description: 'Work for at most so many seconds.')]
  #[CLI\Option(name: 'rate', description: 'Copy at most so many MiB a second.')]
  #[CLI\Option(name: 'parallel', description: 'Files at the same time.')]
  #[CLI\Option(name: 'skipped', description: 'List each name that is never published, with the reason; else one for each reason.')]
  #[CLI\Usage(name: 'until drush cistern:copy-local; do :; done', description: "Repeat until '0 left': only then it exits with 0.")]
  public function copyLocal(array $options = self::PASS + ['skipped' => FALSE]): int {
    return $this->pass(fn(\Closure $progress): array => $this->mover->copyIn($this->limits($options), (bool) $options['dry-run'], array_filter([$options['scheme']]), $progress), $options);
  }

  /**
   * Makes the old directories what the store is: the way back.
   */
  #[CLI\Command(name: 'cistern:pull')]
  #[CLI\Option(name: 'dry-run', description: 'Only look what would be copied.')]
  #[CLI\Option(name: 'scheme', description: 'Only public, or only private files.')]
  #[CLI\Option(name: 'limit', description: 'Copy at most so many files.')]
  #[CLI\Option(name: 'time', description: 'Work for at most so many seconds.')]
  #[CLI\Option(name: 'rate', description: 'Copy at most so many MiB a second.')]
  #[CLI\Option(name: 'parallel', description: 'Files at the same time.')]
  #[CLI\Usage(name: 'drush cistern:pull', description: "Repeat until '0 left', then switch.")]
  public function pull(array $options = self::PASS): int {
    return $this->pass(fn(\Closure $progress): array => $this->mover->copyOut($this->limits($options), (bool) $options['dry-run'], array_filter([$options['scheme']]), $progress), $options);
  }

  /**
   * Shows on which side all web heads work, or changes it.
   */
  #[CLI\Command(name: 'cistern:switch')]
  #[CLI\Argument(name: 'to', description: 'store, local or read-only; nothing: show.')]
  #[CLI\Option(name: 'copy', description: 'Make a last pass while nobody writes. --no-copy: only into a store without files, which then reads through.')]
  #[CLI\Option(name: 'last-pass', description: 'A command that makes the last pass instead, such as cistern import --delete: for web heads with an old directory each.')]
  #[CLI\Option(name: 'force', description: 'Also if web heads differ.')]
  #[CLI\Option(name: 'grace', description: 'Seconds for requests at work.')]
  #[CLI\Usage(name: 'drush cistern:switch store', description: 'All heads work in the store from their next request on.')]
  public function switch(string $to = '', array $options = self::SWITCH): int {
    $say = fn(string $what) => $this->logger()->notice($what);
    try {
      match ($to) {
        '' => NULL,
        'store', 'local' => $this->sum($this->switcher->to($to, (bool) $options['copy'], (bool) $options['force'], (float) $options['grace'], $say, (string) $options['last-pass'])),
        'read-only' => $this->switcher->readOnly((float) $options['grace'], $say),
        default => throw new \RuntimeException("There is no side '$to': store, local or read-only."),
      };
      $flag = $this->switcher->state();
    }
    catch (\RuntimeException $e) {
      $this->logger()->error($e->getMessage());
      return self::EXIT_FAILURE;
    }
    $this->output()->writeln($flag['side'] . ($flag['writes'] === 'no' ? ' (read-only)' : ($flag['writes'] === 'yes' ? '' : ' (is being changed)')));
    return self::EXIT_SUCCESS;
  }

  /**
   * Compares file_managed with the store.
   */
  #[CLI\Command(name: 'cistern:verify')]
  #[CLI\Option(name: 'scheme', description: 'Only public, or only private files.')]
  #[CLI\Option(name: 'orphans', description: 'Also list files that have no row.')]
  #[CLI\Option(name: 'repair', description: 'A directory with the files of --scheme (public): what is missing, or has another size, is taken from there.')]
  #[CLI\FieldLabels(labels: ['kind' => 'Kind', 'uri' => 'URI', 'found' => 'Found', 'repaired' => 'Repaired'])]
  #[CLI\DefaultTableFields(fields: ['kind', 'uri', 'found', 'repaired'])]
  #[CLI\Usage(name: 'drush cistern:verify', description: 'Exits with 1 if there is a difference.')]
  public function verify(array $options = ['format' => 'table', 'scheme' => '', 'orphans' => TRUE, 'repair' => '']): CommandResult {
    $scheme = (string) $options['scheme'];
    $rows = [];
    $left = 0;
    foreach ($this->verifier->differences($scheme === '' ? ['public', 'private'] : [$scheme], (bool) $options['orphans'], (string) $options['repair'], $scheme ?: 'public') as $row) {
      $left += $row['repaired'] ? 0 : 1;
      $rows[] = ['repaired' => $row['repaired'] ? 'yes' : ''] + $row;
    }
    return CommandResult::dataWithExitCode(new RowsOfFields($rows), $left > 0 ? self::EXIT_FAILURE : self::EXIT_SUCCESS);
  }

  /**
   * Runs passes, shows how far they are and what they did.
   *
   * @param callable(\Closure): array<string, \Cistern\Moving\Report> $run
   *   Runs them.
   * @param array<string, mixed> $options
   *   Of the command.
   */
  private function pass(callable $run, array $options): int {
    $bar = new ProgressBar($this->stderr());
    $bar->setFormat(' %current% files looked at, %elapsed%');
    try {
      $reports = $run(fn(int $files) => $bar->advance($files));
    }
    catch (\RuntimeException $e) {
      $this->logger()->error($e->getMessage());
      return self::EXIT_FAILURE;
    }
    finally {
      $bar->clear();
    }
    $left = 0;
    foreach ($reports as $scheme => $report) {
      $left += $report->left;
      foreach ($this->reasons($report, (bool) ($options['skipped'] ?? FALSE)) as $line) {
        $this->output()->writeln("$scheme://$line");
      }
      foreach ($report->failed as $path => $why) {
        $this->logger()->error("$scheme://$path: $why");
      }
      $this->sum($report, "$scheme://: ");
    }
    $this->output()->writeln("$left left");
    return $left === 0 ? self::EXIT_SUCCESS : self::EXIT_FAILURE;
  }

  /**
   * What was not copied, and why.
   *
   * @return list<string>
   *   Lines.
   */
  private function reasons(Report $report, bool $each): array {
    $lines = $count = [];
    foreach ($report->skipped as $path => $why) {
      $count[$why] = ($count[$why] ?? 0) + 1;
      if ($each || $count[$why] === 1) {
        $lines[$each ? $path : $why] = "$path: not copied: $why";
      }
    }
    foreach ($each ? [] : $count as $why => $number) {
      $lines[$why] .= $number > 1 ? sprintf(' (and %d more)', $number - 1) : '';
    }
    return array_values($lines);
  }

  /**
   * Says what a pass did.
   */
  private function sum(?Report $report, string $of = ''): void {
    if ($report === NULL) {
      return;
    }
    $this->output()->writeln(sprintf('%s%d copied (%s MiB), %d replaced, %d removed, %d there already, %d deleted by the site meanwhile, %d never published; %.1f s',
      $of, $report->copied, number_format($report->bytes / 1048576, 1, '.', ''), $report->replaced, $report->removed, $report->there, $report->gone, $report->skippedCount, $report->seconds));
  }

  /**
   * The limits that the options say.
   *
   * @param array<string, mixed> $options
   *   Of the command.
   */
  private function limits(array $options): Limits {
    return new Limits((int) $options['limit'], (float) $options['time'], (float) $options['rate'] * 1048576, max(1, (int) $options['parallel']));
  }

}
