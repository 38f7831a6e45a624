<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Client;
use Cistern\Entry;
use Cistern\Stream\Handle;
use Drupal\Core\Cache\CacheBackendInterface;

/**
 * The first bytes of the images whose sizes a page needs, for the next time.
 *
 * Core opens each image in an editor's text to learn its width and height. What
 * a page opened is kept in Drupal's cache: when it opens the first of them
 * again, all are looked up in one request, and those that are the same version
 * are not read again. A digest tells versions apart, so nothing old is shown.
 */
final class ImageHeads {

  /**
   * What a page may have kept for it.
   */
  private const MAX_IMAGES = 200;

  /**
   * An image that does not tell its size in so many bytes is read each time.
   */
  private const MAX_BYTES = 16384;

  private const SECONDS = 2592000;

  /**
   * Where this page's images are kept; NULL if none was opened yet.
   */
  private ?string $page = NULL;

  /**
   * Versions and first bytes.
   *
   * @var array<string, array{string, string}>
   *   By key.
   */
  private array $heads = [];

  /**
   * Whether there is something to keep.
   */
  private bool $changed = FALSE;

  /**
   * A web request begins.
   */
  public function begin(): void {
    $this->page = NULL;
    $this->heads = [];
    $this->changed = FALSE;
  }

  /**
   * Opens an image for reading; NULL if nothing is to be kept of it.
   *
   * @throws \Cistern\Exception\CisternException
   */
  public function open(Client $client, string $key): ?Handle {
    if ($this->page === NULL) {
      $this->recall($client, $key);
    }
    if ($this->page === NULL || $this->page === '') {
      return NULL;
    }
    $entry = $client->known($key);
    [$etag, $head] = $this->heads[$key] ?? ['', ''];
    if ($entry !== NULL && $entry->isFile() && $entry->etag === $etag) {
      return new ImageHeadHandle(fn() => $client->open($key), $entry, $head);
    }
    $stream = $client->open($key);
    // The tracker says nothing of a mode when it sends bytes.
    $entry = $entry?->etag === $stream->entry->etag ? $entry : $stream->entry;
    return new ImageHeadHandle(fn() => $stream, $entry, '', fn(string $bytes) => $this->learn($entry, $bytes));
  }

  /**
   * A web request ends: keeps what it learned.
   */
  public function end(): void {
    if ($this->changed && $this->page !== NULL && $this->page !== '') {
      $heads = array_slice(array_reverse($this->heads, TRUE), 0, self::MAX_IMAGES, TRUE);
      $this->cache()?->set($this->page, array_reverse($heads, TRUE), time() + self::SECONDS);
    }
    $this->begin();
  }

  /**
   * Finds what was kept of this page, and looks all of it up.
   *
   * Pages are told apart by their path and by the first image that they open: a
   * logo's size, say, may be asked for on all of them.
   */
  private function recall(Client $client, string $key): void {
    $this->page = '';
    $request = \Drupal::hasService('request_stack') ? \Drupal::service('request_stack')->getMainRequest() : NULL;
    $cache = $this->cache();
    if ($request === NULL || $cache === NULL || !$request->isMethodSafe()) {
      return;
    }
    $options = $client->options;
    $what = [$options->domain, $options->prefix, $request->getPathInfo(), $key];
    $this->page = 'cistern.images:' . hash('sha256', serialize($what));
    $kept = $cache->get($this->page);
    $this->heads = is_object($kept) && is_array($kept->data) ? $kept->data : [];
    if (count($this->heads) > 1) {
      $client->statMany(array_keys($this->heads));
    }
  }

  /**
   * Keeps as much of an image's beginning as tells its size.
   */
  private function learn(Entry $entry, string $bytes): void {
    if ($entry->sha256 === '') {
      return;
    }
    for ($length = 64; $length < 2 * min(self::MAX_BYTES, strlen($bytes)); $length *= 2) {
      $head = substr($bytes, 0, $length);
      if (@getimagesizefromstring($head) !== FALSE) {
        unset($this->heads[$entry->key]);
        $this->heads[$entry->key] = [$entry->etag, $head];
        $this->changed = TRUE;
        return;
      }
    }
  }

  /**
   * Where heads are kept; NULL before Drupal has a cache.
   */
  private function cache(): ?CacheBackendInterface {
    return \Drupal::hasService('cache.default') ? \Drupal::service('cache.default') : NULL;
  }

}
