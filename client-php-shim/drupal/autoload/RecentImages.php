<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Client;
use Cistern\Entry;
use Cistern\Exception\Conflict;
use Cistern\Exception\NotFound;
use Cistern\Stream\FileStat;

/**
 * The images that a request for a derivative is about, until it is answered.
 *
 * Core opens the original twice, and reads back twice what it has just stored.
 * Here each is moved once.
 */
final class RecentImages {

  /**
   * Larger images are fetched as often as they are asked for.
   */
  private const MAX_BYTES = 33554432;

  private const MEMORY = 2097152;

  /**
   * A name to which an image style has added the extension of another format.
   */
  private const CONVERTED = '/^(.+\.(?:jpe?g|png|gif|webp|avif))\.(?:jpe?g|png|gif|webp|avif)$/i';

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
   * Its key.
   */
  private string $derivative = '';

  /**
   * Whether it was found missing just now.
   *
   * Core's first look needs no other answer; its second one, under a lock,
   * does.
   */
  private bool $missing = FALSE;

  /**
   * A request for a derivative begins.
   *
   * @param string $derivative
   *   Its key.
   * @param bool $missing
   *   Whether it was found missing just now.
   */
  public function begin(string $derivative, bool $missing): void {
    $this->forget();
    $this->keeping = TRUE;
    $this->derivative = $derivative;
    $this->missing = $missing;
  }

  /**
   * It ended.
   */
  public function end(): void {
    $this->forget();
    $this->keeping = $this->missing = FALSE;
    $this->derivative = '';
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
    if (!$this->missing || $this->derivative !== $key) {
      return FALSE;
    }
    $this->missing = FALSE;
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
   * Fetches the original of the derivative.
   *
   * Core asks only whether it is there, and wants its bytes next.
   *
   * @return array<int|string, int>|false|null
   *   As PHP's stat(); FALSE if there is none; NULL if it is to be asked for.
   */
  public function statOfOriginal(Client $client, string $key): array|false|null {
    if (preg_match(self::CONVERTED, $key, $match) && $client->known($match[1]) === NULL) {
      // cat.png.webp is either an original or made of cat.png. One look tells,
      // and whether the derivative is there by now.
      $client->statMany(array_filter([$key, $match[1], $this->derivative]));
      return NULL;
    }
    try {
      $stream = $client->open($key, whole: TRUE);
    }
    catch (NotFound) {
      return FALSE;
    }
    catch (Conflict) {
      return NULL;
    }
    $this->keep($stream->entry, fn(): string => $stream->read(262144));
    $stream->close();
    return FileStat::of($stream->entry);
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
