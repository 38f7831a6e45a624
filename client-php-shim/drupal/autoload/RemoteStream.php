<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Exception\InvalidRequest;
use Cistern\Exception\Unavailable;
use Cistern\StreamWrapper;
use Drupal\Core\StreamWrapper\PublicStream as CorePublicStream;
use Drupal\Core\StreamWrapper\StreamWrapperInterface;

/**
 * A scheme of Drupal's in Cistern: the library's stream wrapper, and what Drupal asks of one besides.
 *
 * PHP makes an object for every call, and Drupal keeps one to ask for URLs: nothing here needs a constructor, and what
 * outlives a call is in the store.
 */
abstract class RemoteStream implements StreamWrapperInterface {

  /**
   * The context that PHP sets before a call.
   *
   * @var resource|null
   */
  public $context;

  /**
   * What setUri() was given.
   */
  protected string $uri = '';

  /**
   * The library's wrapper, which does the work. An open file or directory has its own.
   */
  private ?StreamWrapper $wrapper = NULL;

  /**
   * {@inheritdoc}
   */
  public static function getType() {
    return StreamWrapperInterface::NORMAL;
  }

  /**
   * {@inheritdoc}
   */
  public function setUri($uri) {
    $this->uri = (string) $uri;
  }

  /**
   * {@inheritdoc}
   */
  public function getUri() {
    return $this->uri;
  }

  /**
   * {@inheritdoc}
   */
  public function realpath() {
    return FALSE;
  }

  /**
   * {@inheritdoc}
   */
  public function dirname($uri = NULL) {
    [$scheme, $target] = explode('://', $uri ?? $this->uri, 2);
    $dirname = dirname(ltrim($target, '\/'));
    return $scheme . '://' . ($dirname === '.' ? '' : $dirname);
  }

  /**
   * The local directory that stands for this scheme: Drupal asks every public:// for it, unasked by its interface.
   */
  public function getDirectoryPath() {
    return CorePublicStream::basePath();
  }

  /**
   * The path below the scheme.
   */
  protected function target(): string {
    return trim(str_replace('\\', '/', explode('://', $this->uri, 2)[1] ?? ''), '/');
  }

  // phpcs:disable Drupal.NamingConventions.ValidFunctionName.ScopeNotCamelCaps

  /**
   * {@inheritdoc}
   */
  public function url_stat($path, $flags) {
    try {
      if (Store::isRoot($this->store()->key($path))) {
        return self::rootStat();
      }
      return $this->wrapper()->url_stat($this->inner($path), $flags);
    }
    catch (InvalidRequest) {
      return FALSE;
    }
    catch (Unavailable $e) {
      $this->store()->tolerate($e);
      return FALSE;
    }
  }

  /**
   * {@inheritdoc}
   */
  public function stream_open($path, $mode, $options, &$opened_path) {
    try {
      return $this->wrapper()->stream_open($this->inner($path), $mode, $options, $opened_path);
    }
    catch (Unavailable $e) {
      $this->store()->noticeOutage($e);
      if (strpbrk($mode, 'waxc+') !== FALSE) {
        throw $e;
      }
      $this->store()->tolerate($e);
      return FALSE;
    }
  }

  /**
   * {@inheritdoc}
   */
  public function stream_read($count) {
    return $this->ask('stream_read', $count);
  }

  /**
   * {@inheritdoc}
   */
  public function stream_write($data) {
    return $this->ask('stream_write', $data);
  }

  /**
   * {@inheritdoc}
   */
  public function stream_eof() {
    return $this->ask('stream_eof');
  }

  /**
   * {@inheritdoc}
   */
  public function stream_tell() {
    return $this->ask('stream_tell');
  }

  /**
   * {@inheritdoc}
   */
  public function stream_seek($offset, $whence = SEEK_SET) {
    return $this->ask('stream_seek', $offset, $whence);
  }

  /**
   * {@inheritdoc}
   */
  public function stream_truncate($new_size) {
    return $this->ask('stream_truncate', $new_size);
  }

  /**
   * {@inheritdoc}
   */
  public function stream_flush() {
    return $this->ask('stream_flush');
  }

  /**
   * {@inheritdoc}
   */
  public function stream_close() {
    $this->ask('stream_close');
  }

  /**
   * {@inheritdoc}
   */
  public function stream_stat() {
    return $this->ask('stream_stat');
  }

  /**
   * {@inheritdoc}
   */
  public function stream_lock($operation) {
    return $this->ask('stream_lock', $operation);
  }

  /**
   * {@inheritdoc}
   */
  public function stream_set_option($option, $arg1, $arg2) {
    return $this->ask('stream_set_option', $option, $arg1, $arg2);
  }

  /**
   * {@inheritdoc}
   */
  public function stream_cast($cast_as) {
    return $this->ask('stream_cast', $cast_as);
  }

  /**
   * {@inheritdoc}
   */
  public function stream_metadata($path, $option, $value) {
    return $this->ask('stream_metadata', $this->inner($path), $option, $value);
  }

  /**
   * {@inheritdoc}
   */
  public function unlink($path) {
    return $this->ask('unlink', $this->inner($path));
  }

  /**
   * {@inheritdoc}
   */
  public function rename($path_from, $path_to) {
    return $this->ask('rename', $this->inner($path_from), $this->inner($path_to));
  }

  /**
   * {@inheritdoc}
   */
  public function mkdir($path, $mode, $options) {
    return $this->ask('mkdir', $this->inner($path), $mode, $options);
  }

  /**
   * {@inheritdoc}
   */
  public function rmdir($path, $options) {
    return $this->ask('rmdir', $this->inner($path), $options);
  }

  /**
   * {@inheritdoc}
   */
  public function dir_opendir($path, $options) {
    return $this->ask('dir_opendir', $this->inner($path), $options);
  }

  /**
   * {@inheritdoc}
   */
  public function dir_readdir() {
    return $this->ask('dir_readdir');
  }

  /**
   * {@inheritdoc}
   */
  public function dir_rewinddir() {
    return $this->ask('dir_rewinddir');
  }

  /**
   * {@inheritdoc}
   */
  public function dir_closedir() {
    return $this->ask('dir_closedir');
  }

  // phpcs:enable Drupal.NamingConventions.ValidFunctionName.ScopeNotCamelCaps

  /**
   * What stat() says of a scheme's root, which is always there and writable.
   *
   * @return array<int|string, int>
   *   As PHP's stat().
   */
  private static function rootStat(): array {
    $named = [
      'dev' => 0, 'ino' => 0, 'mode' => 0040775, 'nlink' => 1,
      'uid' => function_exists('posix_geteuid') ? posix_geteuid() : 0,
      'gid' => function_exists('posix_getegid') ? posix_getegid() : 0,
      'rdev' => 0, 'size' => 0, 'atime' => 0, 'mtime' => 0, 'ctime' => 0, 'blksize' => -1, 'blocks' => -1,
    ];
    return array_values($named) + $named;
  }

  /**
   * The store, when it is needed: PHP makes these objects without a container's help.
   */
  private function store(): Store {
    return \Drupal::service('cistern.store');
  }

  /**
   * The URI by which the library's wrapper knows a file.
   */
  private function inner(string $uri): string {
    return Store::SCHEME . '://' . $this->store()->key($uri);
  }

  /**
   * Lets the library's wrapper do it, and remembers if there was an outage.
   */
  private function ask(string $method, mixed ...$arguments): mixed {
    try {
      return $this->wrapper()->$method(...$arguments);
    }
    catch (Unavailable $e) {
      $this->store()->noticeOutage($e);
      throw $e;
    }
  }

  /**
   * The library's wrapper for this call or handle.
   */
  private function wrapper(): StreamWrapper {
    $this->wrapper ??= new StreamWrapper();
    $this->wrapper->context = $this->context;
    return $this->wrapper;
  }

}
