<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Client;
use Cistern\Entry;
use Cistern\Exception\CisternException;
use Cistern\Stream\FileStat;

/**
 * The images that the request for a derivative is about, kept until it is answered.
 *
 * Core opens the original twice, and reads back twice what it has just stored. Here each is moved once.
 */
final class RecentImages {

  /**
   * Larger images are fetched as often as they are asked for.
   */
  private const MAX_BYTES = 33554432;

  private const MEMORY = 2097152;

  /**
   * Whether this request makes a derivative.
   */
  private bool $keeping = FALSE;

  /**
   * Bytes and what is known of them.
   *
   * @var array<string, array{resource, \Cistern\Entry}>
   *   By key.
   */
  private array $images = [];

  /**
   * The derivative that was found missing just now: core's first look needs no other answer, its second one does.
   */
  private ?string $missing = NULL;

  /**
   * A request for a derivative begins, which is missing.
   */
  public function begin(string $missing): void {
    $this->forget();
    $this->keeping = TRUE;
    $this->missing = $missing;
  }

  /**
   * It ended.
   */
  public function end(): void {
    $this->forget();
    $this->keeping = FALSE;
    $this->missing = NULL;
  }

  /**
   * Whether images are kept.
   */
  public function isKeeping(): bool {
    return $this->keeping;
  }

  /**
   * Whether a key was found missing just now; says so once.
   */
  public function isMissing(string $key): bool {
    if ($this->missing !== $key) {
      return FALSE;
    }
    $this->missing = NULL;
    return TRUE;
  }

  /**
   * Keeps an image that is read or written.
   *
   * @param \Cistern\Entry $entry
   *   What it is in the store.
   * @param callable(): string $read
   *   Gives its next bytes, '' at its end.
   */
  public function keep(Entry $entry, callable $read): void {
    if (!$this->keeping || !$entry->isFile() || $entry->size > self::MAX_BYTES) {
      return;
    }
    $bytes = fopen('php://temp/maxmemory:' . self::MEMORY, 'w+b');
    while (($chunk = $read()) !== '') {
      fwrite($bytes, $chunk);
    }
    if (ftell($bytes) === $entry->size) {
      $this->images[$entry->key] = [$bytes, $entry];
    }
  }

  /**
   * Fetches an image to keep it. It is not kept if that fails; who wants it then hears why.
   */
  public function fetch(Client $client, string $key): void {
    try {
      $stream = $client->open($key, whole: TRUE);
      $this->keep($stream->entry, fn(): string => $stream->read(262144));
      $stream->close();
    }
    catch (CisternException) {
      // It is asked for again.
    }
  }

  /**
   * Bytes of a kept image; NULL if it is not kept.
   */
  public function read(string $key, int $offset, int $length): ?string {
    return isset($this->images[$key]) ? (string) stream_get_contents($this->images[$key][0], $length, $offset) : NULL;
  }

  /**
   * What stat() says of a kept image; NULL if it is not kept.
   *
   * @return array<int|string, int>|null
   *   As PHP's stat().
   */
  public function stat(string $key): ?array {
    return isset($this->images[$key]) ? FileStat::of($this->images[$key][1]) : NULL;
  }

  /**
   * Something was written: what is kept may be old.
   */
  public function forget(): void {
    $this->images = [];
  }

}
