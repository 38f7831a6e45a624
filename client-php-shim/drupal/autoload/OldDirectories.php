<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Moving\LocalTree;
use Drupal\Core\Site\Settings;

/**
 * The directories that the site's files were in before Cistern.
 *
 * `fallback` in settings.php: by scheme, on every head at the same place, as a
 * rule on NFS. Not below the document root: there a web server would serve
 * what the site has deleted since.
 */
final class OldDirectories {

  /**
   * The directory of a scheme, '' if it has none.
   */
  public static function path(string $scheme): string {
    return self::paths(Settings::get('cistern', []))[$scheme] ?? '';
  }

  /**
   * All of them.
   *
   * @param array<string, mixed> $options
   *   As in $settings['cistern'].
   *
   * @return array<string, string>
   *   Paths by scheme.
   */
  public static function paths(array $options): array {
    $fallback = $options['fallback'] ?? '';
    $paths = is_array($fallback) ? $fallback : ['public' => $fallback];
    return array_filter(array_map(fn($path): string => rtrim((string) $path, '/'), $paths));
  }

  /**
   * What of them may be in the store.
   *
   * @param \Drupal\Core\Site\Settings $settings
   *   The site's.
   *
   * @return array<string, \Cistern\Moving\LocalTree>
   *   By scheme.
   */
  public static function trees(Settings $settings): array {
    $root = defined('DRUPAL_ROOT') ? DRUPAL_ROOT : (string) getcwd();
    $absolute = fn(string $path): string => str_starts_with($path, '/') ? $path : "$root/$path";
    $others = [
      'configuration of the site (config_sync_directory)' => $settings->get('config_sync_directory'),
      'temporary files (file_temp_path)' => $settings->get('file_temp_path'),
      'private files (file_private_path)' => $settings->get('file_private_path'),
      'compiled templates (php_storage)' => $settings->get('php_storage')['twig']['directory'] ?? NULL,
    ];
    $trees = [];
    foreach (self::paths($settings->get('cistern', [])) as $scheme => $path) {
      $reasons = [];
      foreach (array_filter($others) as $why => $other) {
        foreach (array_filter([$absolute((string) $other), realpath($absolute((string) $other))]) as $place) {
          // The directory may be known by the name that it has elsewhere.
          $public = $absolute((string) $settings->get('file_public_path', 'sites/default/files'));
          $reasons[$place] = $reasons[str_replace("$public/", "$path/", $place)] = $why;
        }
      }
      unset($reasons[$path]);
      $trees[$scheme] = new LocalTree($path, $scheme === 'public', $reasons);
    }
    return $trees;
  }

}
