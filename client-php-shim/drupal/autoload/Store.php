<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Client;
use Cistern\Entry;
use Cistern\Exception\InvalidRequest;
use Cistern\Exception\Unavailable;
use Cistern\Moving\OldFiles;

/**
 * The site's files in Cistern.
 *
 * Which key a URI has, and what an outage means for the web request at hand.
 *
 * While a page is built, a file that cannot be looked at is shown as if it were
 * absent, and the page enters no cache. Everything else must not take an outage
 * for an absence: it throws.
 */
final class Store {

  /**
   * Methods of HTTP that only read.
   */
  private const SAFE = ['GET', 'HEAD', 'OPTIONS'];

  /**
   * Clients of this process: a rebuilt container goes on with what they know.
   *
   * @var array<string, \Cistern\Client>
   */
  private static array $clients = [];

  /**
   * Asks the trackers.
   */
  public readonly Client $client;

  /**
   * Images of a request for a derivative.
   */
  public readonly RecentImages $recent;

  /**
   * First bytes of images that pages look at.
   */
  public readonly ImageHeads $heads;

  /**
   * The image style that is being emptied.
   */
  public readonly StyleFlush $flush;

  /**
   * What is not in the store yet, but in the directory that the site had.
   */
  public readonly ?OldFiles $old;

  /**
   * How many operations must not take an outage for an absence.
   */
  private int $strict = 0;

  /**
   * The first outage of this web request.
   */
  private ?Unavailable $outage = NULL;

  /**
   * Whether an outage was tolerated, and the log knows it.
   */
  private bool $tolerated = FALSE;

  /**
   * The image that was opened last.
   *
   * Its URI, how many requests had been made by then, and its stat.
   *
   * @var array{string, int, array<int|string, int>|false}
   */
  private array $opened = ['', 0, FALSE];

  /**
   * When this web request wrote last.
   */
  private ?int $lastWrite = NULL;

  public function __construct(public readonly Options $options) {
    $connection = $options->client;
    $this->recent = new RecentImages();
    $this->heads = new ImageHeads();
    $this->flush = new StyleFlush(array_values(array_filter(['public', 'private', 'cistern'], $options->takesOver(...))));
    $this->client = self::$clients[serialize([$connection->trackers, $connection->domain, $connection->prefix])] ??= new Client($connection);
    $this->old = $options->readsThrough() ? new OldFiles($this->client, $options->elsewhere()) : NULL;
  }

  /**
   * A web request begins.
   *
   * Forgets what the one before knew, where one process serves many.
   */
  public function beginRequest(): void {
    $this->client->beginRequest();
    $this->recent->end();
    $this->heads->begin();
    $this->outage = NULL;
    $this->lastWrite = NULL;
    $this->tolerated = FALSE;
    $this->strict = 0;
  }

  /**
   * The key of a URI: 'public://a/b.txt' is 'public/a/b.txt'.
   *
   * Accepts what Drupal makes of URIs: 'public:///a', 'public://a//b',
   * 'public://a/', 'public://a/./b'.
   *
   * @throws \Cistern\Exception\InvalidRequest
   *   If the URI leads out of its scheme.
   */
  public function key(string $uri): string {
    [$scheme, $target] = explode('://', $uri, 2) + [1 => ''];
    $segments = [];
    foreach (explode('/', $target) as $segment) {
      if ($segment === '..') {
        if ($segments === []) {
          throw new InvalidRequest("The URI '$uri' leads out of its scheme.");
        }
        array_pop($segments);
      }
      elseif ($segment !== '' && $segment !== '.') {
        $segments[] = $segment;
      }
    }
    return implode('/', [$scheme, ...$segments]);
  }

  /**
   * The key of a URI as the trackers know it, with the site's prefix.
   */
  public function fullKey(string $uri): string {
    return ltrim($this->options->client->prefix . '/' . $this->key($uri), '/');
  }

  /**
   * Whether a URI is of a scheme in the store.
   */
  public function isOwn(string $uri): bool {
    return $this->options->takesOver((string) strstr($uri, '://', TRUE));
  }

  /**
   * Whether a key stands for a whole scheme, whose root is always there.
   */
  public static function isRoot(string $key): bool {
    return !str_contains($key, '/');
  }

  /**
   * What a URI names, NULL if nothing. Throws on an outage.
   */
  public function stat(string $uri, bool $fresh = FALSE): ?Entry {
    $key = $this->key($uri);
    return self::isRoot($key) ? new Entry($key, TRUE, 0.0) : $this->client->stat($key, $fresh) ?? $this->oldEntry($key);
  }

  /**
   * What only the old directory has of a key that the store does not have.
   */
  public function oldEntry(string $key): ?Entry {
    $file = $this->old?->find($key);
    return $file === NULL ? NULL : ReadThroughStream::entry($key, $file);
  }

  /**
   * Brings a file into the store, if only the old directory has it.
   */
  public function bring(string $uri): void {
    if ($this->old !== NULL && $this->client->stat($this->key($uri), TRUE) === NULL) {
      $this->old->bringIn($this->key($uri));
    }
  }

  /**
   * Does something that must not take an outage for an absence.
   *
   * @param callable(): T $operation
   *   What to do.
   *
   * @return T
   *   What it returned.
   *
   * @template T
   */
  public function strictly(callable $operation): mixed {
    $this->strict++;
    try {
      return $operation();
    }
    finally {
      $this->strict--;
    }
  }

  /**
   * A look-up failed.
   *
   * Returns if the page may be built without it, and keeps that page out of
   * every cache.
   *
   * @throws \Cistern\Exception\Unavailable
   *   The same, if it may not.
   */
  public function tolerate(Unavailable $failure): void {
    $this->outage ??= $failure;
    $request = \Drupal::hasService('request_stack') ? \Drupal::service('request_stack')->getCurrentRequest() : NULL;
    // Command lines have a made-up GET request.
    $builds_page = PHP_SAPI !== 'cli' && $request !== NULL && in_array($request->getMethod(), self::SAFE, TRUE);
    if ($this->strict > 0 || !$builds_page) {
      throw $failure;
    }
    if (!$this->tolerated) {
      $this->tolerated = TRUE;
      self::log('warning', 'A page is shown without files that cannot be looked at: {why}', ['why' => $failure->getMessage()]);
    }
    \Drupal::service('page_cache_kill_switch')->trigger();
    $renderer = \Drupal::service('renderer');
    if ($renderer->hasRenderContext()) {
      $uncacheable = ['#cache' => ['max-age' => 0]];
      $renderer->render($uncacheable);
    }
  }

  /**
   * The first outage that this web request met, thrown or tolerated.
   */
  public function outage(): ?Unavailable {
    return $this->outage;
  }

  /**
   * Remembers an outage that was met outside of this class.
   */
  public function noticeOutage(Unavailable $failure): void {
    $this->outage ??= $failure;
  }

  /**
   * An image was opened.
   *
   * Core asks for its size next, which came with its bytes.
   *
   * @param string $uri
   *   The file.
   * @param array<int|string, int>|false $stat
   *   What is known of it, but for its mode.
   */
  public function noticeOpened(string $uri, array|false $stat): void {
    if (self::isImage($uri)) {
      $this->opened = [$uri, $this->client->calls(), $stat];
    }
  }

  /**
   * What is known of an image from opening it.
   *
   * NULL if that was not the last thing that was done in the store.
   *
   * @return array<int|string, int>|null
   *   As PHP's stat().
   */
  public function statOfOpened(string $uri): ?array {
    [$opened, $calls, $stat] = $this->opened;
    return $opened === $uri && $calls === $this->client->calls() && is_array($stat) ? $stat : NULL;
  }

  /**
   * Whether a name is an image's.
   */
  public static function isImage(string $name): bool {
    return preg_match('/\.(?:jpe?g|png|gif|webp|avif)$/i', $name) === 1;
  }

  /**
   * A write was done.
   */
  public function noticeWrite(): void {
    $this->lastWrite = time();
    $this->recent->forget();
    // PHP remembers what it was told of a file last.
    clearstatcache();
  }

  /**
   * When this web request wrote last, NULL if it did not.
   */
  public function lastWrite(): ?int {
    return $this->lastWrite;
  }

  /**
   * Tells Drupal's log what the client says, as far as there is one yet.
   *
   * @param string $level
   *   As in PSR-3.
   * @param string $message
   *   With {placeholders}.
   * @param array<string, mixed> $context
   *   Their values.
   */
  public static function log(string $level, string $message, array $context): void {
    if (!\Drupal::hasService('logger.factory')) {
      return;
    }
    $values = [];
    foreach ($context as $name => $value) {
      $values["{{$name}}"] = is_scalar($value) ? (string) $value : (string) json_encode($value);
    }
    \Drupal::logger('cistern')->log($level, '@message', ['@message' => strtr($message, $values)]);
  }

}
