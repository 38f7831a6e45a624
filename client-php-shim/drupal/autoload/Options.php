<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\ClientOptions;
use Drupal\Core\Site\Settings;

/**
 * What settings.php says about Cistern.
 *
 * This is $settings['cistern'], as TakeOver::apply() checked and stored it.
 *
 * The values live in settings.php alone, never in configuration: neither a
 * config import nor an uninstall can end the take-over, and no secret is
 * exported. docs/drupal.md explains each.
 */
final class Options {

  /**
   * Settings that go to the client as they are, and their name there.
   */
  private const CLIENT = [
    'connect_timeout' => 'connectTimeout',
    'timeout' => 'timeout',
    'deadline' => 'deadline',
    'retries' => 'retries',
    'direct_bytes' => 'directBytes',
    'spool_directory' => 'spoolDirectory',
    'spool_memory' => 'spoolMemory',
    'tls_ca_file' => 'tlsCaFile',
    'stat_seconds' => 'statSeconds',
    'read_only' => 'readOnly',
  ];

  /**
   * Settings of the module, and their defaults.
   *
   * - public, private: whether public:// and private:// are in the store.
   * - max_age: seconds that browsers and proxies may keep a public file without
   *   asking. Image derivatives with a token in their URL: a year.
   * - derivative_wait: seconds that a request for an image derivative waits for
   *   another one that is making it.
   * - x_accel: path of an internal location of nginx that fetches keys from the
   *   trackers ('/_cistern/'); private files are then sent by nginx after
   *   Drupal has allowed it. '': PHP sends them.
   * - local_directory: for what must stay on this web head.
   */
  private const OWN = [
    'public' => TRUE,
    'private' => TRUE,
    'max_age' => 300,
    'derivative_wait' => 15,
    'x_accel' => '',
    'local_directory' => '',
  ];

  /**
   * Holds what was checked.
   *
   * @param \Cistern\ClientOptions $client
   *   What the client is made with.
   * @param array<string, mixed> $own
   *   Values for the names in self::OWN.
   */
  private function __construct(public readonly ClientOptions $client, private readonly array $own) {}

  /**
   * Reads $settings['cistern'].
   */
  public static function fromSettings(Settings $settings): self {
    return self::fromArray($settings->get('cistern', []));
  }

  /**
   * Reads CISTERN_TRACKER_URLS, CISTERN_DOMAIN and CISTERN_TOKEN.
   *
   * For tests that cannot have a settings.php.
   *
   * @param string $site_path
   *   Where the site's own directory is; each has its own prefix in the domain.
   */
  public static function fromEnvironment(string $site_path): self {
    return self::fromArray(self::environment() + ['prefix' => trim((string) preg_replace('/\W+/', '-', $site_path), '-')]);
  }

  /**
   * The connection as the environment gives it; what is not set is left out.
   *
   * @return array<string, mixed>
   *   Some of trackers, domain and token.
   */
  public static function environment(): array {
    $values = [
      'trackers' => preg_split('/[\s,]+/', (string) getenv('CISTERN_TRACKER_URLS'), -1, PREG_SPLIT_NO_EMPTY),
      'domain' => (string) getenv('CISTERN_DOMAIN'),
      'token' => (string) getenv('CISTERN_TOKEN'),
    ];
    return array_filter($values);
  }

  /**
   * Checks the values and makes options of them.
   *
   * @param array<string, mixed> $values
   *   As in $settings['cistern'].
   *
   * @throws \InvalidArgumentException
   *   What is missing or unknown, and what to do.
   */
  public static function fromArray(array $values): self {
    $known = ['trackers', 'domain', 'token', 'prefix', ...array_keys(self::CLIENT), ...array_keys(self::OWN)];
    if ($unknown = array_diff(array_keys($values), $known)) {
      throw new \InvalidArgumentException(sprintf("Cistern does not know the setting '%s'. Known ones: %s.", reset($unknown), implode(', ', $known)));
    }
    foreach (['trackers' => 'CISTERN_TRACKER_URLS', 'domain' => 'CISTERN_DOMAIN', 'token' => 'CISTERN_TOKEN'] as $name => $variable) {
      if (empty($values[$name])) {
        throw new \InvalidArgumentException("Cistern lacks '$name'. Give it to Cistern\\Drupal\\TakeOver::apply() in settings.php, or set the environment variable $variable for PHP.");
      }
    }
    $client = [
      'trackers' => (array) $values['trackers'],
      'domain' => $values['domain'],
      'token' => $values['token'],
      'prefix' => $values['prefix'] ?? '',
    ];
    foreach (array_intersect_key(self::CLIENT, $values) as $name => $argument) {
      $client[$argument] = $values[$name];
    }
    try {
      return new self(new ClientOptions(...$client, log: Store::log(...)), $values + self::OWN);
    }
    catch (\TypeError $e) {
      throw new \InvalidArgumentException("A setting of Cistern in settings.php has a value of the wrong type: {$e->getMessage()}", 0, $e);
    }
  }

  /**
   * Whether the files of a scheme are in the store.
   */
  public function takesOver(string $scheme): bool {
    return $scheme === 'cistern' || (in_array($scheme, ['public', 'private'], TRUE) && $this->own[$scheme]);
  }

  /**
   * Seconds that a public file may be kept without asking.
   */
  public function maxAge(): int {
    return (int) $this->own['max_age'];
  }

  /**
   * Seconds that a request waits for a derivative that another one makes.
   */
  public function derivativeWait(): float {
    return (float) $this->own['derivative_wait'];
  }

  /**
   * The internal location of nginx that fetches keys, '' if there is none.
   *
   * It has slashes at both ends.
   */
  public function xAccel(): string {
    $path = trim((string) $this->own['x_accel'], '/');
    return $path === '' ? '' : "/$path/";
  }

}
