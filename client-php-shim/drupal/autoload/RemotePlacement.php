<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Entry;
use Cistern\Exception\CisternException;
use Cistern\Exception\Conflict;
use Cistern\Exception\NotFound;
use Cistern\Exception\Unavailable;
use Cistern\PutOptions;
use Drupal\Core\File\Exception\DirectoryNotReadyException;
use Drupal\Core\File\Exception\FileException;
use Drupal\Core\File\Exception\FileExistsException;
use Drupal\Core\File\Exception\FileNotExistsException;
use Drupal\Core\File\Exception\FileWriteException;
use Drupal\Core\File\FileExists;

/**
 * The part of FileSystem that puts files under names.
 *
 * Says in Drupal's terms why one was not put there.
 */
trait RemotePlacement {

  /**
   * Puts something under a name of the store.
   *
   * As core's prepareDestination() and what follows it.
   *
   * @param string $source
   *   Where it comes from; for messages, and its last segment if the
   *   destination is a directory.
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
      if (!$this->needsNoLook($source, $uri)) {
        // The look at the directory takes the names with it.
        $names?->current();
        if ($this->store->stat($this->dirname($uri))?->isDirectory !== TRUE) {
          throw $this->notReady($source, $uri, $done);
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
      if ($e->problem === 'directory-not-found') {
        throw $this->notReady($source, $uri, $done, $e);
      }
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
    if (!$overwrite && $this->store->oldEntry($this->store->key($uri)) !== NULL && $this->store->client->stat($this->store->key($uri)) === NULL) {
      throw new Conflict("'$uri' exists.", 'precondition-failed', 412);
    }
    $entry = $write($this->store->key($uri), $overwrite);
    $this->store->noticeWrite();
    $this->keepMode($entry);
    return $uri;
  }

  /**
   * Writes to the first name that is free.
   *
   * Another one may take it meanwhile: then the next one.
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
        // Core wants the directory to be there; the tracker looks.
        $parents = $this->isImplied(dirname($key)) || $this->store->oldEntry(dirname($key))?->isDirectory === TRUE;
        if ($operation === 'move') {
          $this->store->old?->forget($from);
        }
        $entry = $operation === 'copy' ? $client->copy($from, $key, $overwrite, $parents) : $client->move($from, $key, $overwrite, $parents);
        if ($operation === 'copy' && $entry->isDirectory) {
          // Core copies files only. Nothing else can be in there yet: the copy
          // was made a moment ago.
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
   * Gives a copied file the site's mode, if its source had another one.
   */
  private function keepMode(Entry $entry): void {
    $meta = $this->fileMeta();
    if (!$entry->isDirectory && ($entry->meta['mode'] ?? NULL) !== $meta['mode']) {
      $this->store->client->patch($entry->key, meta: $meta + $entry->meta);
    }
  }

  /**
   * Drupal's exception for a file whose directory does not exist.
   */
  private function notReady(string $source, string $uri, string $done, ?NotFound $cause = NULL): DirectoryNotReadyException {
    return new DirectoryNotReadyException("The specified file '$source' could not be $done because the destination directory '{$this->dirname($uri)}' is not properly configured. This may be caused by a problem with file or directory permissions.", 0, $cause);
  }

  /**
   * Drupal's exception for a write that failed.
   *
   * What it failed of is in its message and in its chain.
   */
  private function writeFailure(string $message, CisternException $cause): FileWriteException {
    if ($cause instanceof Unavailable) {
      $this->store->noticeOutage($cause);
    }
    return new FileWriteException("$message {$cause->getMessage()}", 0, $cause);
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

}
