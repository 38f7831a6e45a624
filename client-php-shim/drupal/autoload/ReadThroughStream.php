<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\AbstractStreamWrapper;
use Cistern\Client;
use Cistern\Entry;
use Cistern\Exception\Conflict;
use Cistern\Exception\NotFound;
use Cistern\Exception\Unavailable;
use Cistern\Moving\LocalFile;
use Cistern\Moving\OldFiles;
use Cistern\Stream\FileStat;
use Cistern\Stream\Handle;

/**
 * A stream wrapper that also sees what is only in the old directory.
 *
 * What the store has wins. Without an old directory it does nothing.
 */
abstract class ReadThroughStream extends AbstractStreamWrapper {

  /**
   * Names in the open directory that only the old one has.
   *
   * @var list<string>
   */
  private array $oldNames = [];

  /**
   * The old directory; NULL if there is none.
   */
  private function old(): ?OldFiles {
    return \Drupal::service('cistern.store')->old;
  }

  // phpcs:disable Drupal.NamingConventions.ValidFunctionName.ScopeNotCamelCaps

  /**
   * {@inheritdoc}
   */
  public function url_stat($path, $flags): array|false {
    $stat = parent::url_stat($path, $flags);
    if ($stat !== FALSE || $this->old() === NULL) {
      return $stat;
    }
    [, $key] = $this->locate($path);
    try {
      $file = $this->old()->find($key);
    }
    catch (Unavailable $e) {
      $this->failed('url_stat', $path, $e);
      return FALSE;
    }
    return $file === NULL ? FALSE : FileStat::of(self::entry($key, $file));
  }

  /**
   * {@inheritdoc}
   */
  public function stream_metadata($path, $option, $value): bool {
    $this->bring($path);
    return parent::stream_metadata($path, $option, $value);
  }

  /**
   * {@inheritdoc}
   */
  public function unlink($path): bool {
    return $this->leave($path) || parent::unlink($path);
  }

  /**
   * {@inheritdoc}
   */
  public function rename($path_from, $path_to): bool {
    if ($this->old() !== NULL) {
      $this->bring($path_from);
      [, $key] = $this->locate($path_from);
      $this->old()->bringInAll($key);
      $this->leave($path_from);
    }
    return parent::rename($path_from, $path_to);
  }

  /**
   * {@inheritdoc}
   */
  public function mkdir($path, $mode, $options): bool {
    if ($this->old() !== NULL) {
      [, $key] = $this->locate($path);
      if ($this->old()->find(dirname($key))?->isDirectory === TRUE) {
        $options |= STREAM_MKDIR_RECURSIVE;
      }
    }
    return parent::mkdir($path, $mode, $options);
  }

  /**
   * {@inheritdoc}
   */
  public function rmdir($path, $options): bool {
    if ($this->old() !== NULL) {
      [$client, $key] = $this->locate($path);
      if ($this->old()->children($key) !== []) {
        trigger_error("rmdir of '$path': the directory is not empty.", E_USER_WARNING);
        return FALSE;
      }
      if ($this->leave($path) && $client->stat($key, TRUE) === NULL) {
        return TRUE;
      }
    }
    return parent::rmdir($path, $options);
  }

  /**
   * {@inheritdoc}
   */
  public function dir_opendir($path, $options): bool {
    $this->oldNames = [];
    if ($this->old() === NULL) {
      return parent::dir_opendir($path, $options);
    }
    [$client, $key] = $this->locate($path);
    $names = array_map(strval(...), array_keys($this->old()->children($key)));
    foreach (array_chunk($names, 1000) as $some) {
      $found = $client->statMany(array_map(fn(string $name): string => "$key/$name", $some));
      foreach ($some as $name) {
        if ($found["$key/$name"] === NULL) {
          $this->oldNames[] = $name;
        }
      }
    }
    return parent::dir_opendir($path, $options) || $this->old()->find($key)?->isDirectory === TRUE;
  }

  /**
   * {@inheritdoc}
   */
  public function dir_readdir(): string|false {
    $name = parent::dir_readdir();
    return $name === FALSE ? array_shift($this->oldNames) ?? FALSE : $name;
  }

  // phpcs:enable Drupal.NamingConventions.ValidFunctionName.ScopeNotCamelCaps

  /**
   * {@inheritdoc}
   */
  protected function open(Client $client, string $key, string $mode): Handle {
    $old = $this->old();
    if ($old === NULL || $mode[0] === 'w') {
      return $this->openStored($client, $key, $mode);
    }
    if ($mode[0] === 'x' && $client->stat($key, TRUE) === NULL && $old->find($key) !== NULL) {
      throw new Conflict("'$key' exists.", 'precondition-failed', 412);
    }
    if ($mode[0] !== 'x' && strpbrk($mode, 'ac+') !== FALSE && $client->stat($key, TRUE) === NULL) {
      $old->bringIn($key);
    }
    try {
      return $this->openStored($client, $key, $mode);
    }
    catch (NotFound $e) {
      $file = $old->find($key);
      if ($file === NULL || $file->isDirectory) {
        throw $e;
      }
      return new OldFileHandle($file->local, FileStat::of(self::entry($key, $file)));
    }
  }

  /**
   * Opens what the store has.
   *
   * @throws \Cistern\Exception\NotFound
   *   The store lacks it.
   */
  protected function openStored(Client $client, string $key, string $mode): Handle {
    return parent::open($client, $key, $mode);
  }

  /**
   * What the store would say of a file of the old directory.
   */
  public static function entry(string $key, LocalFile $file): Entry {
    return new Entry($key, $file->isDirectory, (float) $file->mtime, $file->size, meta: ['mode' => sprintf('%04o', $file->mode)]);
  }

  /**
   * Brings a file into the store that only the old directory has.
   */
  private function bring(string $path): void {
    [$client, $key] = $this->locate($path);
    if ($this->old() !== NULL && $client->stat($key, TRUE) === NULL) {
      $this->old()->bringIn($key);
    }
  }

  /**
   * Something is going to be deleted or moved away.
   *
   * @return bool
   *   Whether only the old directory had it, so that all is done.
   */
  private function leave(string $path): bool {
    $old = $this->old();
    if ($old === NULL) {
      return FALSE;
    }
    [$client, $key] = $this->locate($path);
    $only_old = $client->stat($key, TRUE) === NULL && $old->find($key) !== NULL;
    $old->forget($key);
    // It may have been copied just before.
    return $only_old && $client->stat($key, TRUE) === NULL;
  }

}
