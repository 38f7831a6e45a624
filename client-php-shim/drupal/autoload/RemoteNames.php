<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Drupal\Component\Utility\Unicode;
use Drupal\Core\File\Exception\FileException;

/**
 * The part of FileSystem that knows names.
 *
 * Which are free, and which directories need no look.
 */
trait RemoteNames {

  /**
   * How many alternative names are looked up in one request.
   */
  private int $namesAtOnce = 100;

  /**
   * Names for a file that is to be created.
   *
   * The wanted one unseen if its directory needs no look, then all as
   * freeNames().
   *
   * @param string $uri
   *   The wanted name.
   * @param string $source
   *   Where the file comes from.
   *
   * @return \Generator<int, string>
   *   URIs.
   */
  private function namesToTry(string $uri, string $source): \Generator {
    if ($this->store->old === NULL && $this->needsNoLook($source, $uri)) {
      yield $uri;
    }
    yield from $this->freeNames($uri);
  }

  /**
   * Free names, best first: the wanted one, then name_0, name_1 and so on.
   *
   * They are looked up a hundred at a time, and the directory with them.
   *
   * @return \Generator<int, string>
   *   URIs.
   */
  private function freeNames(string $uri): \Generator {
    $parent = $this->store->key($this->dirname($uri));
    for ($from = -1; TRUE; $from += $this->namesAtOnce) {
      $names = [];
      for ($counter = $from; $counter < $from + $this->namesAtOnce; $counter++) {
        $name = $counter < 0 ? $uri : $this->alternative($uri, $counter);
        $names[$this->store->key($name)] = $name;
      }
      $found = $this->store->client->statMany([$parent, ...array_keys($names)], fresh: TRUE);
      foreach ($names as $key => $name) {
        if ($found[$key] === NULL && $this->store->oldEntry($key) === NULL) {
          yield $name;
        }
      }
    }
  }

  /**
   * The name as core changes it: cat.jpg becomes cat_0.jpg.
   */
  private function alternative(string $uri, int $counter): string {
    $slash = (int) strrpos($uri, '/');
    $dot = strrpos($uri, '.');
    return $dot !== FALSE && $dot > $slash ? substr($uri, 0, $dot) . "_$counter" . substr($uri, $dot) : "{$uri}_$counter";
  }

  /**
   * Whether the directory of a destination needs no look.
   *
   * It exists as far as is known, or the tracker looks itself: for a copy or a
   * move.
   */
  private function needsNoLook(string $source, string $uri): bool {
    $parent = $this->store->key($this->dirname($uri));
    return $this->isRemote($source) || $this->isImplied($parent) || $this->store->client->known($parent)?->isDirectory === TRUE;
  }

  /**
   * Whether a directory comes with the first file in it.
   *
   * Those of image derivatives do, and the roots of schemes.
   */
  private function isImplied(string $key): bool {
    return Store::isRoot($key) || preg_match('~^[^/]+/styles/~', $key) === 1;
  }

  /**
   * Where a file in a directory is.
   *
   * The directory may end with a slash, and may be the root of its scheme.
   */
  private function join(string $directory, string $name): string {
    return $directory . (str_ends_with($directory, '/') ? '' : '/') . $name;
  }

  /**
   * A name without control characters, as core makes it.
   */
  private function printable(string $basename): string {
    $this->assertUtf8($basename);
    return (string) preg_replace('/[\x00-\x1F]/u', '_', $basename);
  }

  /**
   * Refuses names that are not UTF-8, as core does.
   */
  private function assertUtf8(string $basename): void {
    if (!Unicode::validateUtf8($basename)) {
      throw new FileException(sprintf("Invalid filename '%s'", $basename));
    }
  }

}
