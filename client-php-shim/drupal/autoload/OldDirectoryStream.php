<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Drupal\Core\Site\Settings;

/**
 * A scheme of core's whose files are in the old directory.
 *
 * It is not where core looks for it (there a web server would serve files by
 * itself, whatever the switch says), and whoever writes has to ask first.
 */
trait OldDirectoryStream {

  /**
   * The scheme.
   */
  abstract protected static function scheme(): string;

  /**
   * {@inheritdoc}
   */
  protected function getLocalPath($uri = NULL) {
    $root = OldDirectories::path(static::scheme());
    $path = $root . '/' . $this->getTarget($uri ?? $this->uri);
    $real = realpath($path) ?: realpath(dirname($path)) . '/' . basename($path);
    $directory = realpath($root);
    return $directory !== FALSE && ($real === $directory || str_starts_with($real, "$directory/")) ? $real : FALSE;
  }

  // phpcs:disable Drupal.NamingConventions.ValidFunctionName.ScopeNotCamelCaps

  /**
   * {@inheritdoc}
   */
  public function stream_open($uri, $mode, $options, &$opened_path) {
    if (strpbrk($mode, 'waxc+') !== FALSE) {
      static::guard($uri);
    }
    return parent::stream_open($uri, $mode, $options, $opened_path);
  }

  /**
   * {@inheritdoc}
   *
   * PHP itself asks for buffers; core's warning would come with every include.
   */
  public function stream_set_option($option, $arg1, $arg2) {
    return FALSE;
  }

  /**
   * {@inheritdoc}
   */
  public function stream_metadata($uri, $option, $value) {
    static::guard($uri);
    return parent::stream_metadata($uri, $option, $value);
  }

  /**
   * {@inheritdoc}
   */
  public function unlink($uri) {
    static::guard($uri);
    return parent::unlink($uri);
  }

  /**
   * {@inheritdoc}
   */
  public function rename($from_uri, $to_uri) {
    static::guard($from_uri);
    return parent::rename($from_uri, $to_uri);
  }

  /**
   * {@inheritdoc}
   */
  public function mkdir($uri, $mode, $options) {
    static::guard($uri);
    $path = OldDirectories::path(static::scheme()) . '/' . $this->getTarget($uri);
    $recursive = (bool) ($options & STREAM_MKDIR_RECURSIVE);
    $file_system = \Drupal::service('file_system');
    return $options & STREAM_REPORT_ERRORS ? $file_system->mkdir($path, $mode, $recursive) : @$file_system->mkdir($path, $mode, $recursive);
  }

  /**
   * {@inheritdoc}
   */
  public function rmdir($uri, $options) {
    static::guard($uri);
    return parent::rmdir($uri, $options);
  }

  // phpcs:enable Drupal.NamingConventions.ValidFunctionName.ScopeNotCamelCaps

  /**
   * Asks whether a file may be written now.
   */
  public static function guard(string $uri): void {
    $options = Settings::get('cistern', []);
    if (isset($options['side'])) {
      WriteGuard::enter('local', $options['writes'], static::scheme() . '/' . ltrim((string) substr($uri, strlen(static::scheme()) + 3), '/'));
    }
  }

}
