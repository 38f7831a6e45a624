<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Drupal\Component\FileSecurity\FileSecurity;

/**
 * The one line of settings.php that puts a site's files into Cistern.
 *
 * It works by $settings['container_yamls'], which is in the key of Drupal's
 * compiled container: every web head follows its own settings.php at once, with
 * no module enabled and no cache rebuilt, in core's installer too.
 */
final class TakeOver {

  /**
   * Adds Cistern's services to the settings, keeps local what must be local.
   *
   * @code
   * \Cistern\Drupal\TakeOver::apply($settings, $app_root, $site_path,
   *   trackers: ['http://10.0.0.5:7500'], domain: 'www', token: getenv('CISTERN_TOKEN'));
   * @endcode
   *
   * @param array<string, mixed> $settings
   *   The $settings of settings.php.
   * @param string $app_root
   *   The $app_root of settings.php.
   * @param string $site_path
   *   The $site_path of settings.php: 'sites/default'.
   * @param mixed ...$options
   *   By name: trackers, domain, token, prefix, public, private, and all else
   *   that docs/drupal.md lists. Trackers, domain and token may come from the
   *   environment instead (CISTERN_TRACKER_URLS, CISTERN_DOMAIN,
   *   CISTERN_TOKEN).
   *
   * @throws \InvalidArgumentException
   *   If something is missing, with what to do. Drupal must not run then: it
   *   would write to a local disk.
   */
  public static function apply(array &$settings, string $app_root, string $site_path, mixed ...$options): void {
    $options += Options::environment();
    $options = self::obeySwitch($options, $app_root);
    $checked = Options::fromArray($options);
    if (!filter_var(ini_get('allow_url_fopen'), FILTER_VALIDATE_BOOLEAN)) {
      throw new \InvalidArgumentException("PHP's allow_url_fopen is off, which forbids public:// and private:// in a store. Set allow_url_fopen = On in php.ini.");
    }
    $public = $settings['file_public_path'] ?? "$site_path/files";
    $local = ($options['local_directory'] ?? '') ?: "$app_root/$public/.cistern";
    self::prepareLocal("$app_root/$public", FALSE);
    self::prepareLocal($local, TRUE);
    $options['local_directory'] = $local;

    // The status report and core's installer look for directories on a disk.
    $settings['php_storage']['twig']['directory'] ??= self::templates($local, $app_root);
    if ($checked->isMoved('private')) {
      $settings['file_private_path'] ??= "$local/private";
      self::makeDirectory($settings['file_private_path'], $app_root);
    }

    $settings['cistern'] = $options;
    $settings['file_additional_public_schemes'][] = 'cistern';
    $schemes = array_filter(['public', 'private'], $checked->isMoved(...));
    $yamls = ['services', ...$schemes];
    if ($checked->isLocal()) {
      $yamls = ['services', 'old', ...array_map(fn(string $scheme): string => "old_$scheme", $schemes)];
    }
    foreach ($yamls as $name) {
      $settings['container_yamls'][] = self::yaml($name);
    }
  }

  /**
   * Asks the switch, where there is one, which side this web request is on.
   *
   * @param array<string, mixed> $options
   *   As in apply().
   * @param string $app_root
   *   Where Drupal is.
   *
   * @return array<string, mixed>
   *   The options, with the answer instead of the question.
   */
  private static function obeySwitch(array $options, string $app_root): array {
    $paths = OldDirectories::paths($options);
    foreach ($paths as $scheme => $path) {
      if (!str_starts_with($path, '/') || str_starts_with("$path/", "$app_root/")) {
        throw new \InvalidArgumentException("The fallback for $scheme:// ($path) must be an absolute path outside of the document root: there a web server would serve files that the site has deleted since. Mount the directory at another place too.");
      }
    }
    $origin = $options['origin'] ?? '';
    if ($origin !== '' && (!preg_match('~^https?://[^\s?#]+$~', $origin) || isset($paths['public']))) {
      throw new \InvalidArgumentException("The origin must be the address of another site's public files (https://www.example.com/sites/default/files), and there can be no fallback for public:// beside it.");
    }
    $databases = $options['switch'] ?? FALSE;
    $wait = (float) ($options['switch_wait'] ?? 30.0);
    unset($options['switch'], $options['switch_wait'], $options['side'], $options['writes']);
    if ($databases === FALSE) {
      return $options;
    }
    foreach (['public', 'private'] as $scheme) {
      if (($options[$scheme] ?? TRUE) && !isset($paths[$scheme])) {
        throw new \InvalidArgumentException("Cistern's setting 'switch' needs the old directory of $scheme:// too: fallback: ['public' => …, 'private' => …].");
      }
    }
    $flag = SwitchFlag::atBoot((array) $databases, $app_root, $wait);
    return ['side' => $flag['side'], 'writes' => $flag['writes']] + $options;
  }

  /**
   * The path of one of our services files.
   *
   * Drupal would ignore a missing one without a word.
   *
   * The path is part of the key of the compiled container, which all heads keep
   * in one database. It is absolute: a compiled container holds the path of
   * Drupal's root, so heads that keep their code at different places must not
   * share one.
   */
  private static function yaml(string $name): string {
    $path = __DIR__ . "/services/$name.yml";
    if (!is_readable($path)) {
      throw new \InvalidArgumentException("Cistern's file $path is missing or not readable. Install the package cistern/cistern again.");
    }
    return $path;
  }

  /**
   * Makes a directory for compiled templates.
   *
   * They are PHP, so they are kept outside of the document root: in the local
   * directory if that is, else in the temporary directory. Each user has one
   * there, so that Drush leaves nothing that the web server cannot replace.
   */
  private static function templates(string $local, string $app_root): string {
    $directory = "$local/php";
    if (str_starts_with("$local/", "$app_root/") && function_exists('posix_geteuid')) {
      $user = posix_geteuid();
      $own = sys_get_temp_dir() . "/cistern-$user-" . substr(hash('sha256', $local), 0, 16);
      $stat = @lstat($own) ?: (@mkdir($own, 0700) ? @lstat($own) : FALSE);
      // Anybody may have made it there: then it is not used.
      $ours = $stat !== FALSE && ($stat['mode'] & 0170022) === 0040000 && $stat['uid'] === $user;
      $directory = $ours ? "$own/php" : $directory;
    }
    self::makeDirectory($directory);
    return $directory;
  }

  /**
   * Makes a local directory, closed to web servers as Drupal does it.
   *
   * CSS and JavaScript stay there.
   */
  private static function prepareLocal(string $directory, bool $deny): void {
    self::makeDirectory($directory);
    if (!is_file("$directory/.htaccess")) {
      FileSecurity::writeHtaccess($directory, $deny);
    }
  }

  /**
   * Makes a local directory.
   */
  private static function makeDirectory(string $directory, string $base = ''): void {
    $path = str_starts_with($directory, '/') || $base === '' ? $directory : "$base/$directory";
    if (!is_dir($path) && !@mkdir($path, 0775, TRUE) && !is_dir($path)) {
      throw new \InvalidArgumentException("The directory $path cannot be made. It must be on this web head's own disk: make it writable for PHP, or name another one as local_directory (or file_private_path).");
    }
  }

}
