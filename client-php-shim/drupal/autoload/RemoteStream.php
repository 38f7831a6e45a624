<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Client;
use Cistern\Entry;
use Cistern\Exception\CisternException;
use Cistern\Exception\InvalidRequest;
use Cistern\Exception\Unavailable;
use Cistern\Stream\FileStat;
use Cistern\Stream\Handle;
use Drupal\Core\StreamWrapper\PublicStream as CorePublicStream;
use Drupal\Core\StreamWrapper\StreamWrapperInterface;

/**
 * A scheme of Drupal's in Cistern.
 *
 * The library's stream wrapper, and what Drupal asks of one besides.
 *
 * PHP makes an object for every call, and Drupal keeps one to ask for URLs:
 * nothing here needs a constructor, and what outlives a call is in the store.
 */
abstract class RemoteStream extends ReadThroughStream implements StreamWrapperInterface {

  /**
   * What a scheme's root and all directories may be done to, as in core.
   */
  private const DIRECTORY_MODE = 0775;

  /**
   * Modes that directories were given.
   *
   * The store keeps none; who sets one sees it for the rest of the web request.
   *
   * @var array<string, int>
   */
  private static array $directoryModes = [];

  /**
   * What setUri() was given.
   */
  protected string $uri = '';

  /**
   * What stream_select() looks at.
   *
   * @var resource|false|null
   */
  private $ready;

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
   *
   * @return false
   *   There is no path on a disk. Exactly FALSE, which core compares with.
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
   * The local directory that stands for this scheme.
   *
   * Core asks every public:// for it, though no interface has it.
   */
  public function getDirectoryPath() {
    return CorePublicStream::basePath();
  }

  // phpcs:disable Drupal.NamingConventions.ValidFunctionName.ScopeNotCamelCaps

  /**
   * {@inheritdoc}
   */
  public function url_stat($path, $flags): array|false {
    try {
      $key = $this->store()->key($path);
    }
    catch (InvalidRequest) {
      return FALSE;
    }
    if ($this->store()->recent->isMissing($key)) {
      return FALSE;
    }
    $stat = Store::isRoot($key) ? self::rootStat() : ($this->statInPassing($path, $key) ?? parent::url_stat($path, $flags));
    if ($stat !== FALSE && ($stat['mode'] & 0170000) === 0040000) {
      $stat['mode'] = $stat[2] = 0040000 | (self::$directoryModes[$key] ?? self::DIRECTORY_MODE);
    }
    return $stat;
  }

  /**
   * {@inheritdoc}
   */
  public function stream_metadata($path, $option, $value): bool {
    if ($option === STREAM_META_ACCESS && is_dir($path)) {
      self::$directoryModes[$this->store()->key($path)] = $value & 07777;
      clearstatcache();
      return TRUE;
    }
    return parent::stream_metadata($path, $option, $value);
  }

  /**
   * {@inheritdoc}
   */
  public function stream_open($path, $mode, $options, &$opened_path): bool {
    if (!parent::stream_open($path, $mode, $options, $opened_path)) {
      return FALSE;
    }
    $this->reads ? $this->store()->noticeOpened($path, $this->stream_stat()) : $this->store()->noticeWrite();
    return TRUE;
  }

  /**
   * {@inheritdoc}
   */
  public function stream_read($count): string|false {
    try {
      return parent::stream_read($count);
    }
    catch (Unavailable $e) {
      // GD would make an invalid image of it, and no more be said.
      $this->store()->noticeOutage($e);
      throw $e;
    }
  }

  /**
   * {@inheritdoc}
   *
   * @return resource|false
   *   For stream_select(), something that is always ready, as the bytes are.
   */
  public function stream_cast($cast_as) {
    return $cast_as === STREAM_CAST_FOR_SELECT ? $this->ready ??= tmpfile() : parent::stream_cast($cast_as);
  }

  /**
   * {@inheritdoc}
   */
  public function unlink($path): bool {
    $this->store()->noticeWrite();
    return parent::unlink($path);
  }

  /**
   * {@inheritdoc}
   */
  public function rename($path_from, $path_to): bool {
    $this->store()->noticeWrite();
    return parent::rename($path_from, $path_to);
  }

  /**
   * {@inheritdoc}
   */
  public function mkdir($path, $mode, $options): bool {
    // A scheme's root is made by what comes first into it.
    $in_root = substr_count($this->store()->key($path), '/') === 1;
    return parent::mkdir($path, $mode, $in_root ? $options | STREAM_MKDIR_RECURSIVE : $options);
  }

  /**
   * {@inheritdoc}
   */
  public function rmdir($path, $options): bool {
    unset(self::$directoryModes[$this->store()->key($path)]);
    return parent::rmdir($path, $options);
  }

  /**
   * {@inheritdoc}
   */
  public function dir_opendir($path, $options): bool {
    // A scheme's root is there before anything is in it.
    return parent::dir_opendir($path, $options) || Store::isRoot($this->store()->key($path));
  }

  // phpcs:enable Drupal.NamingConventions.ValidFunctionName.ScopeNotCamelCaps

  /**
   * {@inheritdoc}
   */
  protected function locate(string $uri): array {
    return [$this->store()->client, $this->store()->key($uri)];
  }

  /**
   * {@inheritdoc}
   */
  protected function failed(string $operation, string $uri, CisternException $failure): void {
    if (!$failure instanceof Unavailable) {
      throw $failure;
    }
    $this->store()->noticeOutage($failure);
    $reads = in_array($operation, ['url_stat', 'dir_opendir'], TRUE) || ($operation === 'stream_open' && $this->reads);
    if (!$reads) {
      throw $failure;
    }
    $this->store()->tolerate($failure);
  }

  /**
   * {@inheritdoc}
   */
  protected function openStored(Client $client, string $key, string $mode): Handle {
    if (!$this->reads) {
      return parent::openStored($client, $key, $mode);
    }
    $recent = $this->store()->recent;
    if ($recent->stat($key) !== NULL) {
      return new RecentImageHandle($recent, $key);
    }
    $handle = Store::isImage($key) && !$recent->isKeeping() ? $this->store()->heads->open($client, $key) : NULL;
    return $handle ?? parent::openStored($client, $key, $mode);
  }

  /**
   * What is known of a file, or can be had together with something else.
   *
   * NULL if it is to be asked for.
   *
   * @return array<int|string, int>|false|null
   *   As PHP's stat().
   */
  private function statInPassing(string $uri, string $key): array|false|null {
    $store = $this->store();
    $known = $store->statOfOpened($uri) ?? $store->recent->stat($key);
    if ($known !== NULL) {
      return $known;
    }
    [, $directory, $style, $rest] = explode('/', $key, 4) + ['', '', '', ''];
    if ($directory !== 'styles' && Store::isImage($key) && $store->recent->isKeeping() && $store->old === NULL) {
      return $store->recent->statOfOriginal($store->client, $key);
    }
    $found = $directory === 'styles' && $style !== '' && $rest === '' ? $store->flush->finds($key) : NULL;
    return $found === TRUE ? FileStat::of(new Entry($key, TRUE, 0.0)) : $found;
  }

  /**
   * The path below the scheme.
   */
  protected function target(): string {
    return trim(str_replace('\\', '/', explode('://', $this->uri, 2)[1] ?? ''), '/');
  }

  /**
   * The store. PHP makes these objects, without a container's help.
   */
  private function store(): Store {
    return \Drupal::service('cistern.store');
  }

  /**
   * What stat() says of a scheme's root, which is always there.
   *
   * @return array<int|string, int>
   *   As PHP's stat().
   */
  private static function rootStat(): array {
    return FileStat::of(new Entry('', TRUE, 0.0));
  }

}
