<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Exception\Conflict;
use Cistern\Exception\NotFound;
use Cistern\Exception\Unavailable;
use Drupal\Core\File\Exception\NotRegularDirectoryException;

/**
 * The part of FileSystem that looks through directories.
 *
 * One listing, instead of a look at each entry.
 */
trait RemoteListing {

  /**
   * {@inheritdoc}
   */
  public function scanDirectory($dir, $mask, array $options = []) {
    if (!$this->isRemote($dir)) {
      return parent::scanDirectory($dir, $mask, $options);
    }
    $options += ['callback' => 0, 'recurse' => TRUE, 'key' => 'uri', 'min_depth' => 0];
    if (!isset($options['nomask'])) {
      $ignored = array_map(fn(string $name): string => preg_quote($name, '/'), $this->settings->get('file_scan_ignore_directories', []));
      $options['nomask'] = '/^' . implode('|', $ignored) . '$/';
    }
    if (!in_array($options['key'], ['uri', 'filename', 'name'], TRUE)) {
      $options['key'] = 'uri';
    }
    $dir = $this->streamWrapperManager->normalizeUri($dir);
    try {
      return $this->matches($dir, $this->children($dir, (bool) $options['recurse']), $mask, $options, 0);
    }
    catch (Unavailable $e) {
      $this->store->tolerate($e);
      return [];
    }
  }

  /**
   * Tells a callback of a directory and all below it.
   *
   * Each directory comes before what is in it.
   */
  private function walk(string $uri, callable $callback): void {
    $callback($uri);
    $key = $this->store->key($uri);
    foreach ($this->store->client->list($key, recursive: TRUE) as $entry) {
      $callback($this->join($uri, substr($entry->key, strlen($key) + 1)));
    }
  }

  /**
   * What a directory holds.
   *
   * @return array<string, array<string, bool>>
   *   By the key of each directory: names, and whether each is a directory.
   *
   * @throws \Drupal\Core\File\Exception\NotRegularDirectoryException
   *   If it is none.
   */
  private function children(string $dir, bool $recursive): array {
    $key = $this->store->key($dir);
    $children = [$key => []];
    try {
      foreach ($this->store->client->list($key, $recursive) as $entry) {
        $children[dirname($entry->key)][$entry->name()] = $entry->isDirectory;
      }
    }
    catch (NotFound | Conflict $e) {
      // A scheme's directory comes with the first file in it.
      if (!Store::isRoot($key) && $this->store->oldEntry($key)?->isDirectory !== TRUE) {
        throw new NotRegularDirectoryException("$dir is not a directory.", 0, $e);
      }
    }
    $this->addOld($children, $key, $recursive);
    return $children;
  }

  /**
   * Adds what only the old directory has.
   *
   * @param array<string, array<string, bool>> $children
   *   As children() returns it.
   * @param string $key
   *   The directory.
   * @param bool $recursive
   *   Whether all below it is wanted.
   */
  private function addOld(array &$children, string $key, bool $recursive): void {
    foreach ($this->store->old?->children($key) ?? [] as $name => $file) {
      $children[$key][$name] ??= $file->isDirectory;
      if ($recursive && $file->isDirectory) {
        $this->addOld($children, "$key/$name", TRUE);
      }
    }
  }

  /**
   * Core's doScanDirectory() over what was listed.
   *
   * @param string $dir
   *   The directory's URI.
   * @param array<string, array<string, bool>> $children
   *   As children() returns it.
   * @param string $mask
   *   What a file's name must match.
   * @param array<string, mixed> $options
   *   As in scanDirectory(), complete.
   * @param int $depth
   *   How far below the first directory this one is.
   *
   * @return array<string, object{uri: string, filename: string, name: string}>
   *   As scanDirectory() returns it.
   */
  private function matches(string $dir, array $children, string $mask, array $options, int $depth): array {
    $below = $here = [];
    foreach ($children[$this->store->key($dir)] ?? [] as $filename => $is_directory) {
      $filename = (string) $filename;
      if ($filename[0] === '.' || preg_match($options['nomask'], $filename)) {
        continue;
      }
      $uri = $this->join($dir, $filename);
      if ($is_directory && $options['recurse']) {
        $below[] = $this->matches($uri, $children, $mask, $options, $depth + 1);
      }
      elseif ($depth >= $options['min_depth'] && preg_match($mask, $filename)) {
        $file = (object) ['uri' => $uri, 'filename' => $filename, 'name' => pathinfo($filename, PATHINFO_FILENAME)];
        $here[$file->{$options['key']}] = $file;
        if ($options['callback']) {
          $options['callback']($uri);
        }
      }
    }
    // The files of this directory come last and win, as in core.
    return array_merge(array_merge(...$below), $here);
  }

}
