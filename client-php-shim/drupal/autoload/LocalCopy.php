<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Exception\NotFound;
use Drupal\Core\DestructableInterface;
use Drupal\Core\File\Exception\FileNotExistsException;
use Drupal\Core\File\Exception\FileWriteException;
use Drupal\Core\File\FileSystemInterface;

/**
 * Real paths for code that needs one.
 *
 * ZipArchive, Imagick, ffmpeg, a program on the command line.
 *
 * A copy lives until the web request or the command ends, and is made once for
 * each version of a file.
 */
final class LocalCopy implements DestructableInterface {

  private const CHUNK = 262144;

  /**
   * Directories that hold one copy each.
   *
   * @var array<string, string>
   *   Paths of the copies, by URI and version.
   */
  private array $copies = [];

  public function __construct(private readonly FileSystemInterface $fileSystem, private readonly Store $store) {}

  /**
   * The path of a local file with the bytes of a URI, and with its name.
   *
   * Local files are not copied. Do not write to the path: it is not brought
   * back to the store.
   *
   * @throws \Drupal\Core\File\Exception\FileNotExistsException
   * @throws \Drupal\Core\File\Exception\FileWriteException
   *   If this web head has no room for it.
   * @throws \Cistern\Exception\CisternException
   *   If it cannot be fetched whole.
   */
  public function localCopy(string $uri): string {
    if (!$this->store->isOwn($uri)) {
      $path = $this->fileSystem->realpath($uri);
      if ($path === FALSE || !is_file($path)) {
        throw new FileNotExistsException("There is no file '$uri' with a local path.");
      }
      return $path;
    }
    return $this->store->strictly(function () use ($uri): string {
      $entry = $this->store->stat($uri);
      if ($entry?->isFile() !== TRUE) {
        throw new FileNotExistsException("There is no file '$uri'.");
      }
      return $this->copies["$uri {$entry->etag}"] ??= $this->fetch($uri);
    });
  }

  /**
   * {@inheritdoc}
   */
  public function destruct() {
    foreach ($this->copies as $path) {
      @unlink($path);
      @rmdir(dirname($path));
    }
    $this->copies = [];
  }

  /**
   * For command lines, where no kernel ends.
   */
  public function __destruct() {
    $this->destruct();
  }

  /**
   * Fetches a file into a directory of its own, under its own name.
   *
   * Programs go by a name's extension.
   */
  private function fetch(string $uri): string {
    $directory = $this->fileSystem->getTempDirectory() . '/cistern-' . bin2hex(random_bytes(8));
    if (!mkdir($directory, 0700)) {
      throw new FileWriteException("No directory for a local copy of '$uri' can be made in {$this->fileSystem->getTempDirectory()}.");
    }
    $path = $directory . '/' . $this->fileSystem->basename($uri);
    try {
      $this->write($uri, $path);
    }
    catch (\Throwable $e) {
      @unlink($path);
      @rmdir($directory);
      throw $e instanceof NotFound ? new FileNotExistsException("There is no file '$uri'.", 0, $e) : $e;
    }
    return $path;
  }

  /**
   * Writes a file of the store to a path.
   */
  private function write(string $uri, string $path): void {
    if ($this->store->old !== NULL && $this->store->client->stat($this->store->key($uri)) === NULL) {
      $old = $this->store->old->find($this->store->key($uri));
      if ($old === NULL || !copy($old->local, $path)) {
        throw new FileNotExistsException("There is no file '$uri'.");
      }
      return;
    }
    $stream = $this->store->client->open($this->store->key($uri));
    $file = fopen($path, 'xb');
    try {
      while (($bytes = $stream->read(self::CHUNK)) !== '') {
        if ($file === FALSE || @fwrite($file, $bytes) !== strlen($bytes)) {
          throw new FileWriteException("A local copy of '$uri' could not be written to $path. Is the disk full?");
        }
      }
    }
    finally {
      $stream->close();
      if ($file !== FALSE) {
        fclose($file);
      }
    }
  }

}
