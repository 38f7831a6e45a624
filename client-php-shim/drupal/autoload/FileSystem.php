<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Entry;
use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\NotFound;
use Cistern\PutOptions;
use Drupal\Core\File\Exception\FileException;
use Drupal\Core\File\Exception\NotRegularFileException;
use Drupal\Core\File\FileExists;
use Drupal\Core\File\FileSystem as CoreFileSystem;
use Drupal\Core\Site\Settings;
use Drupal\Core\StreamWrapper\StreamWrapperManager;
use Drupal\Core\StreamWrapper\StreamWrapperManagerInterface;

/**
 * Core's file_system service, with files in Cistern handled by the store.
 *
 * PHP's own functions cannot do it: copy(), fclose() and move_uploaded_file()
 * report success for an upload that failed, and looking for a free name before
 * writing lets two web servers take the same one. Here a name is made unique by
 * creating it exclusively, a copy or a move is one request, and a failure is
 * one of Drupal's exceptions.
 *
 * An outage while something is deleted is thrown as it is, not as a
 * FileException: core's File entity ignores those and would be gone while its
 * bytes stay.
 */
class FileSystem extends CoreFileSystem {

  use RemoteListing;
  use RemoteNames;
  use RemotePlacement;

  /**
   * Names that getDestinationFilename() gave out as free.
   *
   * An upload may create them only.
   *
   * @var array<string, true>
   */
  private array $promised = [];

  public function __construct(StreamWrapperManagerInterface $stream_wrapper_manager, Settings $settings, protected readonly Store $store) {
    parent::__construct($stream_wrapper_manager, $settings);
  }

  /**
   * {@inheritdoc}
   */
  public function moveUploadedFile($filename, $uri) {
    if (!$this->isRemote($uri)) {
      return parent::moveUploadedFile($filename, $uri);
    }
    if (!is_uploaded_file($filename)) {
      return FALSE;
    }
    $exclusive = isset($this->promised[$uri]);
    unset($this->promised[$uri]);
    try {
      $this->store->client->putFile($this->store->key($uri), $filename, new PutOptions(meta: $this->fileMeta(), ifNoneMatch: $exclusive));
    }
    catch (CisternException $e) {
      throw $this->writeFailure("The uploaded file could not be stored as '$uri'.", $e);
    }
    unlink($filename);
    $this->store->noticeWrite();
    return TRUE;
  }

  /**
   * {@inheritdoc}
   *
   * A scheme's root is its own path: core's file migrations and many modules
   * ask for realpath('public://'), to look at it and to put names behind it,
   * which then work. Below it there is no path, as for every remote file.
   */
  public function realpath($uri) {
    return $this->isRemote($uri) && Store::isRoot($this->store->key($uri)) ? strstr($uri, '://', TRUE) . '://' : parent::realpath($uri);
  }

  /**
   * {@inheritdoc}
   */
  public function tempnam($directory, $prefix) {
    if (!$this->isRemote($directory)) {
      return parent::tempnam($directory, $prefix);
    }
    // As tempnam() does it: the file is there at once, so that nobody else gets
    // the name.
    $uri = rtrim($directory, '/') . (str_ends_with($directory, '://') ? '//' : '/') . $prefix . bin2hex(random_bytes(6));
    $this->store->client->put($this->store->key($uri), '', new PutOptions(meta: ['mode' => '0600'], ifNoneMatch: TRUE));
    return $this->streamWrapperManager->normalizeUri($uri);
  }

  /**
   * {@inheritdoc}
   */
  public function copy($source, $destination, /* FileExists */$fileExists = FileExists::Rename) {
    $fileExists = $this->fileExists($fileExists, __FUNCTION__);
    if (!$this->isRemote($destination)) {
      return $this->store->strictly(fn() => parent::copy($source, $destination, $fileExists));
    }
    if ($this->isRemote($source)) {
      $this->store->bring($source);
    }
    return $this->place($source, $destination, $fileExists, $this->writer($source, 'copy'), 'copied');
  }

  /**
   * {@inheritdoc}
   */
  public function move($source, $destination, /* FileExists */$fileExists = FileExists::Rename) {
    $fileExists = $this->fileExists($fileExists, __FUNCTION__);
    if (!$this->isRemote($destination)) {
      return $this->store->strictly(fn() => parent::move($source, $destination, $fileExists));
    }
    if ($this->isRemote($source)) {
      $this->store->bring($source);
    }
    $placed = $this->place($source, $destination, $fileExists, $this->writer($source, 'move'), 'moved');
    if ($this->isRemote($source)) {
      return $placed;
    }
    $path = $this->realpath($source) ?: $source;
    $entry = $this->store->client->known($this->store->key($placed));
    if ($entry !== NULL && $this->store->recent->isKeeping() && ($file = fopen($path, 'rb'))) {
      $this->store->recent->keep($entry, fn(): string => (string) fread($file, 262144));
      fclose($file);
    }
    if (!@unlink($path)) {
      throw new FileException("The source file '$source' could not be unlinked after copying to '$placed'.");
    }
    return $placed;
  }

  /**
   * {@inheritdoc}
   */
  public function saveData($data, $destination, /* FileExists */$fileExists = FileExists::Rename) {
    $fileExists = $this->fileExists($fileExists, __FUNCTION__);
    if (!$this->isRemote($destination)) {
      return parent::saveData($data, $destination, $fileExists);
    }
    $write = fn(string $key, bool $overwrite): Entry => $this->store->client->put($key, (string) $data, new PutOptions(meta: $this->fileMeta(), ifNoneMatch: !$overwrite));
    // The name that data get which are saved to a directory.
    $name = 'file' . substr(bin2hex(random_bytes(3)), 0, 6);
    return $this->place($name, $destination, $fileExists, $write, 'saved');
  }

  /**
   * {@inheritdoc}
   */
  public function delete($path) {
    if (!$this->isRemote($path)) {
      return parent::delete($path);
    }
    try {
      $this->store->old?->forget($this->store->key($path));
      $this->store->client->delete($this->store->key($path));
      $this->store->noticeWrite();
    }
    catch (NotFound) {
      // That is the intended result.
    }
    catch (Conflict $e) {
      throw new NotRegularFileException("Cannot delete '$path' because it is a directory. Use deleteRecursive() instead.", 0, $e);
    }
    return TRUE;
  }

  /**
   * {@inheritdoc}
   */
  public function deleteRecursive($path, ?callable $callback = NULL) {
    if (!$this->isRemote($path)) {
      return parent::deleteRecursive($path, $callback);
    }
    $key = $this->store->key($path);
    $client = $this->store->client;
    $together = $this->store->flush->takeWith($key);
    try {
      if ($callback !== NULL) {
        $this->walk($path, $callback);
      }
      foreach ($together ?: [$key] as $gone) {
        $this->store->old?->forget($gone);
      }
      $together === [] ? $client->removeDirectory($key, recursive: TRUE) : $client->removeDirectories($together);
      $this->store->flush->removed($key, $together);
      $this->store->noticeWrite();
    }
    catch (NotFound) {
      // That is the intended result.
    }
    catch (Conflict $e) {
      if ($e->problem !== 'not-a-directory') {
        throw $e;
      }
      return $together === [] ? $this->delete($path) : $this->deleteRecursive($path, $callback);
    }
    return TRUE;
  }

  /**
   * {@inheritdoc}
   */
  public function prepareDirectory(&$directory, $options = self::MODIFY_PERMISSIONS) {
    if (!$this->isRemote($directory)) {
      return parent::prepareDirectory($directory, $options);
    }
    // Some callers pass TRUE, as core lets them.
    return $this->store->strictly(fn() => $this->prepareRemoteDirectory($directory, (int) $options));
  }

  /**
   * {@inheritdoc}
   */
  public function getDestinationFilename($destination, /* FileExists */$fileExists) {
    $fileExists = $this->fileExists($fileExists, __FUNCTION__);
    if (!$this->isRemote($destination)) {
      return parent::getDestinationFilename($destination, $fileExists);
    }
    $basename = $this->basename($destination);
    $this->assertUtf8($basename);
    if ($fileExists === FileExists::Replace) {
      return $destination;
    }
    // No attempt to write is cut short by an answer from memory.
    if ($fileExists === FileExists::Error) {
      return $this->store->stat($destination, fresh: TRUE) === NULL ? $destination : FALSE;
    }
    $free = $this->freeNames($destination)->current();
    if ($free !== $destination && $this->printable($basename) !== $basename) {
      $free = $this->createFilename($basename, $this->dirname($destination));
    }
    $this->promised[$free] = TRUE;
    return $free;
  }

  /**
   * {@inheritdoc}
   */
  public function createFilename($basename, $directory) {
    if (!$this->isRemote($directory)) {
      return parent::createFilename($basename, $directory);
    }
    return $this->freeNames($this->join($directory, $this->printable($basename)))->current();
  }

  /**
   * Whether a URI is of a scheme in the store.
   */
  protected function isRemote(mixed $uri): bool {
    $scheme = is_string($uri) ? StreamWrapperManager::getScheme($uri) : FALSE;
    return $scheme !== FALSE && is_a((string) $this->streamWrapperManager->getClass($scheme), RemoteStream::class, TRUE);
  }

  /**
   * Core's prepareDirectory(), with one request at most.
   */
  private function prepareRemoteDirectory(string $directory, int $options): bool {
    $key = $this->store->key($directory);
    if (($options & self::CREATE_DIRECTORY) !== 0) {
      if (!$this->isImplied($key)) {
        try {
          $this->store->client->makeDirectory($key);
        }
        catch (Conflict) {
          return FALSE;
        }
      }
    }
    elseif ($this->store->stat($directory)?->isDirectory !== TRUE) {
      return FALSE;
    }
    if ($this->isImplied($key) || is_writable($directory)) {
      return TRUE;
    }
    return ($options & self::MODIFY_PERMISSIONS) !== 0 && $this->chmod($directory);
  }

  /**
   * What happens to a name that is taken; older callers give a number.
   */
  private function fileExists(mixed $fileExists, string $method): FileExists {
    return $fileExists instanceof FileExists ? $fileExists : FileExists::fromLegacyInt($fileExists, CoreFileSystem::class . "::$method");
  }

}
