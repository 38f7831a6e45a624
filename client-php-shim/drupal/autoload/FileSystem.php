<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Entry;
use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\NotFound;
use Cistern\Exception\Unavailable;
use Cistern\PutOptions;
use Drupal\Component\Utility\Unicode;
use Drupal\Core\File\Exception\DirectoryNotReadyException;
use Drupal\Core\File\Exception\FileException;
use Drupal\Core\File\Exception\FileExistsException;
use Drupal\Core\File\Exception\FileNotExistsException;
use Drupal\Core\File\Exception\FileWriteException;
use Drupal\Core\File\Exception\NotRegularDirectoryException;
use Drupal\Core\File\Exception\NotRegularFileException;
use Drupal\Core\File\FileExists;
use Drupal\Core\File\FileSystem as CoreFileSystem;
use Drupal\Core\Site\Settings;
use Drupal\Core\StreamWrapper\StreamWrapperManager;
use Drupal\Core\StreamWrapper\StreamWrapperManagerInterface;

/**
 * Core's file_system service, with files in Cistern handled by operations of the store.
 *
 * PHP's own functions cannot do it: copy(), fclose() and move_uploaded_file() report success for an upload that failed,
 * and looking for a free name before writing lets two web servers take the same one. Here a name is made unique by
 * creating it exclusively, a copy or a move is one request, and a failure is one of Drupal's exceptions.
 *
 * An outage while something is deleted is thrown as it is, not as a FileException: core's File entity ignores those and
 * would be gone while its bytes stay.
 */
class FileSystem extends CoreFileSystem {

  use RemoteListing;

  /**
   * How many alternative names are looked up in one request.
   */
  private const NAMES = 100;

  /**
   * Names that getDestinationFilename() gave out as free; an upload may create them only.
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
   * A scheme's root is its own path: core's file migrations and many modules ask for realpath('public://'), to look at
   * it and to put names behind it, which then work. Below it there is no path, as for every remote file.
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
    // As tempnam() does it: the file is there at once, so that nobody else gets the name.
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
    try {
      if ($callback !== NULL) {
        $this->walk($path, $callback);
      }
      $client->removeDirectory($key, recursive: TRUE);
      $this->store->noticeWrite();
    }
    catch (NotFound) {
      // That is the intended result.
    }
    catch (Conflict $e) {
      if ($e->problem !== 'not-a-directory') {
        throw $e;
      }
      return $this->delete($path);
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
    return $this->store->strictly(fn() => $this->prepareRemoteDirectory($directory, $options));
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
   * Puts something under a name of the store, as core's prepareDestination() and what follows it.
   *
   * @param string $source
   *   Where it comes from; for messages, and its last segment if the destination is a directory.
   * @param string $destination
   *   A URI of the store: of the file, or of a directory.
   * @param \Drupal\Core\File\FileExists $fileExists
   *   What to do if the name is taken.
   * @param callable(string, bool): \Cistern\Entry $write
   *   Is given the key, and whether to replace what is there.
   * @param string $done
   *   What is done with it: 'copied'.
   *
   * @return string
   *   The URI that it got.
   */
  private function place(string $source, string $destination, FileExists $fileExists, callable $write, string $done): string {
    $into_directory = str_ends_with($destination, '/') || Store::isRoot($this->store->key($destination));
    $uri = $into_directory ? $this->join($destination, $this->basename($source)) : $destination;
    $this->assertUtf8($this->basename($uri));
    try {
      $names = $fileExists === FileExists::Rename ? $this->namesToTry($uri, $source) : NULL;
      if (!$this->isKnownParent($source, $uri)) {
        // The look at the directory takes the names with it.
        $names?->current();
        if ($this->store->stat($this->dirname($uri))?->isDirectory !== TRUE) {
          throw new DirectoryNotReadyException("The specified file '$source' could not be $done because the destination directory '{$this->dirname($uri)}' is not properly configured. This may be caused by a problem with file or directory permissions.");
        }
        if (!$into_directory && $this->store->client->known($this->store->key($uri))?->isDirectory === TRUE) {
          return $this->place($source, $destination . '/', $fileExists, $write, $done);
        }
      }
      if ($fileExists === FileExists::Replace && $this->isRemote($source) && $this->store->key($source) === $this->store->key($uri)) {
        throw new FileException("File '$source' could not be copied because it would overwrite itself.");
      }
      return $names === NULL ? $this->writeOnce($uri, $write, $fileExists === FileExists::Replace) : $this->writeUnique($names, $write);
    }
    catch (NotFound $e) {
      throw new FileNotExistsException("File '$source' could not be copied because it does not exist.", 0, $e);
    }
    catch (Conflict $e) {
      if ($e->problem === 'is-a-directory' && !$into_directory) {
        return $this->place($source, $destination . '/', $fileExists, $write, $done);
      }
      if ($e->problem === 'precondition-failed') {
        throw new FileExistsException("File '$source' could not be copied because a file by that name already exists in the destination directory ('').", 0, $e);
      }
      throw $this->writeFailure("The specified file '$source' could not be $done to '$uri'.", $e);
    }
    catch (CisternException $e) {
      throw $this->writeFailure("The specified file '$source' could not be $done to '$uri'.", $e);
    }
  }

  /**
   * Writes to a name and returns it.
   *
   * @param string $uri
   *   The name.
   * @param callable(string, bool): \Cistern\Entry $write
   *   As in place().
   * @param bool $overwrite
   *   Whether what is there is replaced.
   */
  private function writeOnce(string $uri, callable $write, bool $overwrite): string {
    $entry = $write($this->store->key($uri), $overwrite);
    $this->store->noticeWrite();
    $this->keepMode($entry);
    return $uri;
  }

  /**
   * Writes to the first name that is free. Another one may take it meanwhile: then the next one.
   *
   * @param \Generator<int, string> $names
   *   As freeNames() gives them.
   * @param callable(string, bool): \Cistern\Entry $write
   *   As in place().
   */
  private function writeUnique(\Generator $names, callable $write): string {
    while (TRUE) {
      try {
        return $this->writeOnce($names->current(), $write, FALSE);
      }
      catch (Conflict $e) {
        if ($e->problem !== 'precondition-failed') {
          throw $e;
        }
        $names->next();
      }
    }
  }

  /**
   * Names for a file that is to be created: the wanted one unseen if its directory is known, else all as freeNames().
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
    if ($this->isKnownParent($source, $uri)) {
      yield $uri;
    }
    yield from $this->freeNames($uri);
  }

  /**
   * Free names, best first: the wanted one, then name_0, name_1 and so on. They are looked up a hundred at a time, and
   * the directory with them.
   *
   * @return \Generator<int, string>
   *   URIs.
   */
  private function freeNames(string $uri): \Generator {
    $parent = $this->store->key($this->dirname($uri));
    for ($from = -1; TRUE; $from += self::NAMES) {
      $names = [];
      for ($counter = $from; $counter < $from + self::NAMES; $counter++) {
        $name = $counter < 0 ? $uri : $this->alternative($uri, $counter);
        $names[$this->store->key($name)] = $name;
      }
      $found = $this->store->client->statMany([$parent, ...array_keys($names)], fresh: TRUE);
      foreach ($names as $key => $name) {
        if ($found[$key] === NULL) {
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
   * What brings a source under a key, in one request.
   *
   * @param string $source
   *   A URI or a local path.
   * @param 'copy'|'move' $operation
   *   What is done if the source is in the store.
   *
   * @return callable(string, bool): \Cistern\Entry
   *   As in place().
   */
  private function writer(string $source, string $operation): callable {
    $client = $this->store->client;
    if ($this->isRemote($source)) {
      $from = $this->store->key($source);
      return function (string $key, bool $overwrite) use ($client, $from, $source, $operation): Entry {
        $entry = $operation === 'copy' ? $client->copy($from, $key, $overwrite) : $client->move($from, $key, $overwrite);
        if ($operation === 'copy' && $entry->isDirectory) {
          // Core copies files only. Nothing else can be in there yet: the copy was made a moment ago.
          $client->removeDirectory($key, recursive: TRUE);
          throw new FileWriteException("The specified file '$source' could not be copied because it is a directory.");
        }
        return $entry;
      };
    }
    return function (string $key, bool $overwrite) use ($client, $source): Entry {
      if (!file_exists($source)) {
        throw new NotFound("There is no file '$source'.");
      }
      $options = new PutOptions(meta: $this->fileMeta(), ifNoneMatch: !$overwrite);
      $path = $this->realpath($source);
      if ($path !== FALSE && !str_contains($path, '://')) {
        return $client->putFile($key, $path, $options);
      }
      $stream = fopen($source, 'rb');
      if ($stream === FALSE) {
        throw new FileWriteException("The specified file '$source' could not be read.");
      }
      try {
        return $client->put($key, $stream, $options);
      }
      finally {
        fclose($stream);
      }
    };
  }

  /**
   * Whether the directory of a destination exists, as far as that is known without asking.
   */
  private function isKnownParent(string $source, string $uri): bool {
    $parent = $this->dirname($uri);
    $key = $this->store->key($parent);
    return $this->isImplied($key)
      || ($this->isRemote($source) && $parent === $this->dirname($source))
      || $this->store->client->known($key)?->isDirectory === TRUE;
  }

  /**
   * Whether a directory needs no look: those of image derivatives come with the first file in them.
   */
  private function isImplied(string $key): bool {
    return Store::isRoot($key) || preg_match('~^[^/]+/styles/~', $key) === 1;
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
   * Where a file in a directory is; the directory may end with a slash, and may be the root of its scheme.
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

  /**
   * The site's mode for files, in the form in which the store keeps it.
   *
   * @return array<string, string>
   *   For PutOptions.
   */
  private function fileMeta(): array {
    return ['mode' => sprintf('%04o', $this->settings->get('file_chmod_file', static::CHMOD_FILE))];
  }

  /**
   * Gives a copied file the site's mode, if its source had another one.
   */
  private function keepMode(Entry $entry): void {
    $meta = $this->fileMeta();
    if (!$entry->isDirectory && ($entry->meta['mode'] ?? NULL) !== $meta['mode']) {
      $this->store->client->patch($entry->key, meta: $meta + $entry->meta);
    }
  }

  /**
   * Drupal's exception for a write that failed. What it failed of is in its message and in its chain.
   */
  private function writeFailure(string $message, CisternException $cause): FileWriteException {
    if ($cause instanceof Unavailable) {
      $this->store->noticeOutage($cause);
    }
    return new FileWriteException("$message {$cause->getMessage()}", 0, $cause);
  }

  /**
   * What happens to a name that is taken; older callers give a number.
   */
  private function fileExists(mixed $fileExists, string $method): FileExists {
    return $fileExists instanceof FileExists ? $fileExists : FileExists::fromLegacyInt($fileExists, CoreFileSystem::class . "::$method");
  }

}
