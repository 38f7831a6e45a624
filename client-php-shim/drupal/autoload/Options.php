<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Client;
use Cistern\ClientOptions;
use Cistern\Moving\OriginTree;
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
    'environment' => 'environment',
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
   * - fallback: the directories that the site had before, by scheme.
   * - origin: address of another site's public files, which are read there.
   * - side, writes: what the switch says (see SwitchFlag); NULL: there is none.
   */
  private const OWN = [
    'public' => TRUE,
    'private' => TRUE,
    'max_age' => 300,
    'derivative_wait' => 15,
    'x_accel' => '',
    'local_directory' => '',
    'fallback' => '',
    'origin' => '',
    'side' => NULL,
    'writes' => 'yes',
  ];

  /**
   * Holds what was checked.
   *
   * @param \Cistern\ClientOptions $client
   *   What the client is made with.
   * @param array<string, mixed> $own
   *   Values for the names in self::OWN.
   * @param array<string, mixed> $arguments
   *   For options of a client, as settings.php says them.
   */
  private function __construct(public readonly ClientOptions $client, private readonly array $own, private readonly array $arguments) {}

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
      // The scheme cistern:// is in the store on either side. Neither of these
      // loads a class before it is called: hits of the page cache are fast.
      $guard = fn(string $key) => str_starts_with($key, 'cistern/') ?: WriteGuard::enter('store', $values['writes'], $key);
      $log = static fn(string $level, string $message, array $context) => Store::log($level, $message, $context);
      return new self(new ClientOptions(...$client, log: $log, beforeWrite: isset($values['side']) ? $guard : NULL), $values + self::OWN, $client);
    }
    catch (\TypeError $e) {
      throw new \InvalidArgumentException("A setting of Cistern in settings.php has a value of the wrong type: {$e->getMessage()}", 0, $e);
    }
  }

  /**
   * Whether the files of a scheme are in the store.
   */
  public function takesOver(string $scheme): bool {
    return $scheme === 'cistern' || ($this->isMoved($scheme) && !$this->isLocal());
  }

  /**
   * Whether the files of a scheme are in the store, or the switch says where.
   */
  public function isMoved(string $scheme): bool {
    return in_array($scheme, ['public', 'private'], TRUE) && $this->own[$scheme];
  }

  /**
   * Whether the switch says that the site's files are in the old directory.
   */
  public function isLocal(): bool {
    return $this->own['side'] === 'local';
  }

  /**
   * Whether there is a switch.
   */
  public function isSwitched(): bool {
    return $this->own['side'] !== NULL;
  }

  /**
   * Whether what the store lacks is looked for in the old directory.
   */
  public function readsThrough(): bool {
    return !$this->isLocal() && (OldDirectories::paths($this->own) !== [] || $this->own['origin'] !== '');
  }

  /**
   * Where what the store lacks is looked for.
   *
   * @return array<string, \Cistern\Moving\Tree>
   *   By scheme.
   */
  public function elsewhere(): array {
    $trees = OldDirectories::trees(Settings::getInstance());
    if ($this->own['origin'] !== '') {
      $trees['public'] = new OriginTree($this->own['origin'], $this->own['local_directory'] . '/origin', $this->client->timeout);
    }
    return $trees;
  }

  /**
   * The old directories, by scheme.
   *
   * @return array<string, string>
   *   Paths.
   */
  public function oldDirectories(): array {
    return OldDirectories::paths($this->own);
  }

  /**
   * A client for commands that make the two sides alike.
   *
   * No switch keeps it from writing.
   */
  public function toolClient(): Client {
    return new Client(new ClientOptions(...['readOnly' => FALSE] + $this->arguments));
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
