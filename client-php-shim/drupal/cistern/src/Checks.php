<?php

declare(strict_types=1);

namespace Drupal\cistern;

use Cistern\Drupal\Store;
use Cistern\Exception\CisternException;
use Cistern\Exception\NotFound;
use Drupal\Core\Config\ConfigFactoryInterface;
use Drupal\Core\File\FileSystemInterface;
use Drupal\Core\Render\Markup;
use Drupal\Core\Site\Settings;
use Drupal\Core\StreamWrapper\PublicStream;
use Drupal\Core\StringTranslation\StringTranslationTrait;
use Drupal\Core\StringTranslation\TranslatableMarkup;

/**
 * Looks whether everything works, and says so of nothing that was not tried.
 *
 * For the status report and for `drush cistern:status`.
 */
class Checks {

  use StringTranslationTrait;

  /**
   * Seconds by which a clock may be wrong.
   */
  private const SKEW = 5.0;

  /**
   * Bytes that should be free where uploads are kept on their way.
   */
  private const SPACE = 1073741824;

  public function __construct(
    protected Heads $heads,
    protected ConfigFactoryInterface $configFactory,
    protected FileSystemInterface $fileSystem,
    protected Settings $settings,
    protected ?Store $store,
    protected string $root,
  ) {}

  /**
   * Runs all checks. Throws nothing for a store that cannot be reached.
   *
   * @param bool|null $probe
   *   Whether to write, read and delete a file; NULL: as configured.
   *
   * @return list<\Drupal\cistern\Check>
   *   What was found.
   */
  public function run(?bool $probe = NULL): array {
    if ($this->store === NULL) {
      // Others may have the line, and miss what is stored here.
      return [
        $this->check('takeover', $this->t('Cistern'), Check::OK, $this->t('Not in use on this web head: settings.php does not call Cistern\Drupal\TakeOver::apply().')),
        $this->compareHeads(),
      ];
    }
    $checks = [$this->takeOver(), ...$this->trackers()];
    if ($probe ?? $this->configFactory->get('cistern.settings')->get('probe') ?? TRUE) {
      $checks[] = $this->probe();
    }
    return [...$checks, ...$this->local(), ...$this->oldDirectories(), $this->compareHeads()];
  }

  /**
   * Whether the classes in use are those that settings.php asks for.
   */
  protected function takeOver(): Check {
    $head = $this->heads->fingerprint();
    $title = $this->t('Cistern: schemes');
    $own = fn(string $class): bool => $class === 'switched' || str_starts_with($class, 'Cistern\\Drupal\\');
    foreach (['public', 'private'] as $scheme) {
      if ($this->store->options->takesOver($scheme) && !$own($head[$scheme])) {
        return $this->check('schemes', $title, Check::ERROR, $this->t("settings.php puts @scheme:// into Cistern, but @class is in use. Something else in container_yamls or a module's service provider replaces it.", [
          '@scheme' => $scheme,
          '@class' => $head[$scheme] ?: $this->t('nothing'),
        ]));
      }
    }
    $schemes = array_filter(['public', 'private', 'cistern'], $this->store->options->takesOver(...));
    return $this->check('schemes', $title, Check::OK, $this->t('In Cistern: @schemes; domain @domain.', [
      '@schemes' => implode(', ', array_map(fn(string $scheme): string => "$scheme://", $schemes)),
      '@domain' => $this->store->options->client->domain,
    ]));
  }

  /**
   * Whether each tracker answers, and its clock.
   *
   * @return list<\Drupal\cistern\Check>
   *   One for the trackers, one for the clocks.
   */
  protected function trackers(): array {
    $ready = $failed = $skewed = [];
    foreach ($this->store->client->health() as $tracker) {
      if ($tracker['ready']) {
        $ready[] = $tracker['tracker'];
      }
      else {
        $failed[] = $tracker['tracker'] . ': ' . $tracker['why'];
      }
      if (abs($tracker['clockOffset'] ?? 0.0) > self::SKEW) {
        $skewed[] = sprintf('%s: %+.0f s', $tracker['tracker'], $tracker['clockOffset']);
      }
    }
    $state = $ready === [] ? Check::ERROR : ($failed === [] ? Check::OK : Check::WARNING);
    $found = $failed === []
      ? $this->t('@count of @count ready.', ['@count' => count($ready)])
      : $this->t('@ready of @count ready. Not: @failed', [
        '@ready' => count($ready),
        '@count' => count($ready) + count($failed),
        '@failed' => implode('; ', $failed),
      ]);
    $checks = [$this->check('trackers', $this->t('Cistern: trackers'), $state, $found)];
    if ($ready !== []) {
      $checks[] = $skewed === []
        ? $this->check('clock', $this->t('Cistern: clock'), Check::OK, $this->t('Agrees with the trackers to @seconds s.', ['@seconds' => self::SKEW]))
        : $this->check('clock', $this->t('Cistern: clock'), Check::ERROR, $this->t('The clocks of trackers and of this web head differ (@offsets): run NTP on all of them.', ['@offsets' => implode('; ', $skewed)]));
    }
    return $checks;
  }

  /**
   * Writes, reads and deletes a small file.
   *
   * Its name begins with a dot: it is never served.
   */
  protected function probe(): Check {
    $title = $this->t('Cistern: write, read, delete');
    $client = $this->store->client;
    $scheme = $this->store->options->takesOver('public') ? 'public' : 'cistern';
    $key = $scheme . '/.cistern-probe-' . bin2hex(random_bytes(8));
    $bytes = random_bytes(1024);
    $started = microtime(TRUE);
    try {
      $client->put($key, $bytes);
      $same = $client->read($key) === $bytes;
      $client->delete($key);
      $gone = $client->stat($key, fresh: TRUE) === NULL;
    }
    catch (CisternException $e) {
      $this->cleanUp($key);
      return $this->check('probe', $title, Check::ERROR, $this->t('A probe file could not be written, read and deleted: @why', ['@why' => $e->getMessage()]));
    }
    $milliseconds = (int) round((microtime(TRUE) - $started) * 1000);
    return $same && $gone
      ? $this->check('probe', $title, Check::OK, $this->t('Works; took @ms ms.', ['@ms' => $milliseconds]))
      : $this->check('probe', $title, Check::ERROR, $this->t('A probe file came back changed, or was still there after it was deleted.'));
  }

  /**
   * What must be on this web head's own disk, and PHP's settings.
   *
   * @return list<\Drupal\cistern\Check>
   *   One for each.
   */
  protected function local(): array {
    $checks = [];
    $checks[] = filter_var(ini_get('allow_url_fopen'), FILTER_VALIDATE_BOOLEAN)
      ? $this->check('allow_url_fopen', $this->t('Cistern: allow_url_fopen'), Check::OK, $this->t('On.'))
      : $this->check('allow_url_fopen', $this->t('Cistern: allow_url_fopen'), Check::ERROR, $this->t("Off: PHP then refuses to open any file in the store. Set allow_url_fopen = On in php.ini."));

    $spool = $this->store->options->client->spoolDirectory ?? sys_get_temp_dir();
    $directories = [
      (string) $this->t('temporary files') => $this->fileSystem->getTempDirectory(),
      (string) $this->t('uploads on their way') => $spool,
      (string) $this->t('CSS and JavaScript') => $this->path(PublicStream::basePath()),
      (string) $this->t('templates') => $this->path($this->settings->get('php_storage')['twig']['directory'] ?? PublicStream::basePath() . '/php'),
    ];
    $bad = array_filter($directories, fn(string $path): bool => !is_dir($path) || !is_writable($path));
    $checks[] = $bad === []
      ? $this->check('local', $this->t('Cistern: local directories'), Check::OK, $this->t('Writable: @paths.', ['@paths' => implode(', ', array_unique($directories))]))
      : $this->check('local', $this->t('Cistern: local directories'), Check::ERROR, $this->t('Not writable on this web head: @paths.', ['@paths' => $this->pairs($bad)]));

    $free = is_dir($spool) ? (float) disk_free_space($spool) : 0.0;
    $checks[] = $this->check('spool', $this->t('Cistern: room for uploads'), $free < self::SPACE ? Check::WARNING : Check::OK, $this->t('@free MiB free in @path, where files are kept while they are written.', [
      '@free' => number_format($free / 1048576, 0, '.', ''),
      '@path' => $spool,
    ]));

    $sync = (string) $this->settings->get('config_sync_directory', '');
    if ($sync !== '' && str_starts_with($this->path($sync) . '/', $this->path(PublicStream::basePath()) . '/')) {
      $checks[] = $this->check('config_sync', $this->t('Cistern: configuration directory'), Check::WARNING, $this->t("config_sync_directory is @path, below this web head's own public directory: other heads do not see it. Keep it beside the code, in version control.", ['@path' => $sync]));
    }
    return $checks;
  }

  /**
   * Whether this head sees the directories that the files were in before.
   *
   * @return list<\Drupal\cistern\Check>
   *   One, if there are any.
   */
  protected function oldDirectories(): array {
    $paths = $this->store->options->oldDirectories();
    if ($paths === []) {
      return [];
    }
    $title = $this->t('Cistern: old directories');
    $bad = array_filter($paths, fn(string $path): bool => !is_dir($path) || !is_readable($path) || ($this->store->options->isSwitched() && !is_writable($path)));
    if ($bad !== []) {
      return [$this->check('old', $title, Check::ERROR, $this->t('Not there, or not readable and writable, on this web head: @paths. Are they mounted?', ['@paths' => $this->pairs($bad)]))];
    }
    $where = $this->store->options->isLocal()
      ? $this->t('The site works in @paths (drush cistern:switch).', ['@paths' => $this->pairs($paths)])
      : $this->t('The site works in the store; what it lacks is read in @paths.', ['@paths' => $this->pairs($paths)]);
    return [$this->check('old', $title, Check::OK, $where)];
  }

  /**
   * Whether all web heads use the same.
   */
  protected function compareHeads(): Check {
    $title = $this->t('Cistern: web heads');
    $heads = $this->heads->all();
    $differences = array_map(
      fn(array $difference): TranslatableMarkup => $this->t("@head: @what is '@there', here '@here'", [
        '@head' => $difference['head'],
        '@what' => $difference['what'],
        '@there' => $difference['there'],
        '@here' => $difference['here'],
      ]),
      $this->heads->differences($heads),
    );
    return $differences === []
      ? $this->check('heads', $title, Check::OK, $this->formatHeads($heads))
      : $this->check('heads', $title, Check::ERROR, $this->t('Web heads differ, so files may be missed: @differences. Give them the same code and the same line in settings.php.', ['@differences' => Markup::create(implode('; ', $differences))]));
  }

  /**
   * Says which heads there are.
   *
   * @param array<string, array<string, mixed>> $heads
   *   As Heads::all() returns them.
   */
  private function formatHeads(array $heads): TranslatableMarkup {
    return $this->t('@count, all alike: @names.', [
      '@count' => count($heads),
      '@names' => implode(', ', array_keys($heads)),
    ]);
  }

  /**
   * Removes a probe file that was left behind, if that is possible.
   */
  private function cleanUp(string $key): void {
    try {
      $this->store->client->delete($key);
    }
    catch (NotFound) {
      // It was never written.
    }
    catch (CisternException) {
      // The failure that led here is reported.
    }
  }

  /**
   * An absolute path.
   */
  private function path(string $path): string {
    return str_starts_with($path, '/') ? $path : "$this->root/$path";
  }

  /**
   * Names and values as text.
   *
   * @param array<string, string> $values
   *   By name.
   */
  private function pairs(array $values): string {
    return implode(', ', array_map(fn(string $name, string $value): string => "$value ($name)", array_keys($values), $values));
  }

  /**
   * Makes a result.
   */
  private function check(string $id, TranslatableMarkup $title, string $state, TranslatableMarkup $found): Check {
    return new Check($id, $title, $state, $found);
  }

}
