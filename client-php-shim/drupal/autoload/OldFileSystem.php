<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Drupal\Core\File\FileExists;
use Drupal\Core\File\FileSystem as CoreFileSystem;
use Drupal\Core\StreamWrapper\StreamWrapperManager;

/**
 * Core's file_system service while the switch says 'local'.
 *
 * Core goes by real paths where it can, past the stream wrappers: so the
 * question whether a file may be written now is asked here too.
 */
class OldFileSystem extends CoreFileSystem {

  /**
   * {@inheritdoc}
   */
  public function moveUploadedFile($filename, $uri) {
    $this->guard($uri);
    return parent::moveUploadedFile($filename, $uri);
  }

  /**
   * {@inheritdoc}
   */
  public function copy($source, $destination, /* FileExists */$fileExists = FileExists::Rename) {
    $this->guard($destination);
    return parent::copy($source, $destination, $fileExists);
  }

  /**
   * {@inheritdoc}
   */
  public function move($source, $destination, /* FileExists */$fileExists = FileExists::Rename) {
    $this->guard($source);
    $this->guard($destination);
    return parent::move($source, $destination, $fileExists);
  }

  /**
   * {@inheritdoc}
   */
  public function saveData($data, $destination, /* FileExists */$fileExists = FileExists::Rename) {
    $this->guard($destination);
    return parent::saveData($data, $destination, $fileExists);
  }

  /**
   * {@inheritdoc}
   */
  public function delete($path) {
    $this->guard($path);
    return parent::delete($path);
  }

  /**
   * {@inheritdoc}
   */
  public function deleteRecursive($path, ?callable $callback = NULL) {
    $this->guard($path);
    return parent::deleteRecursive($path, $callback);
  }

  /**
   * {@inheritdoc}
   */
  public function tempnam($directory, $prefix) {
    $scheme = StreamWrapperManager::getScheme($directory);
    $root = $scheme === FALSE ? '' : OldDirectories::path($scheme);
    if ($root === '') {
      return parent::tempnam($directory, $prefix);
    }
    $this->guard($directory);
    $name = tempnam($root, $prefix);
    return $name === FALSE ? FALSE : "$scheme://" . basename($name);
  }

  /**
   * Asks whether a file may be written now.
   */
  private function guard(mixed $uri): void {
    $scheme = is_string($uri) ? StreamWrapperManager::getScheme($uri) : FALSE;
    $class = $scheme === FALSE ? FALSE : $this->streamWrapperManager->getClass($scheme);
    if ($class !== FALSE && method_exists($class, 'guard')) {
      $class::guard($uri);
    }
  }

}
