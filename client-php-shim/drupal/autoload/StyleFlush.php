<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Drupal\image\ImageStyleInterface;

/**
 * Empties an image style in one request.
 *
 * Core asks each scheme, one after the other, whether it has a directory for
 * the style, and removes it: up to six requests. Here its question needs no
 * answer of the trackers, since removing what is missing is fine, and the first
 * removal is that of all schemes.
 */
final class StyleFlush {

  /**
   * How many callers there are from here to core's method.
   *
   * It asks by file_exists(), and nothing stands between.
   */
  private const DEPTH = 6;

  /**
   * Directories that core was told of, and removes next.
   *
   * @var list<string>
   *   Keys.
   */
  private array $promised = [];

  /**
   * Directories that went with another one, of which core is going to ask.
   *
   * @var list<string>
   *   Keys.
   */
  private array $gone = [];

  /**
   * Makes one for the schemes in the store.
   *
   * @param list<string> $schemes
   *   Their names.
   */
  public function __construct(private readonly array $schemes) {}

  /**
   * Whether core's flush is to find a directory of derivatives.
   *
   * NULL if it is not flush that asks.
   */
  public function finds(string $key): ?bool {
    if (!$this->isAsking()) {
      return NULL;
    }
    if (in_array($key, $this->gone, TRUE)) {
      $this->gone = array_values(array_diff($this->gone, [$key]));
      return FALSE;
    }
    $this->promised = $this->gone = [];
    foreach ($this->schemes as $scheme) {
      $this->promised[] = $scheme . strstr($key, '/');
    }
    return TRUE;
  }

  /**
   * What is to be removed together with a directory; says so once.
   *
   * Nothing if it is none that flush was told of.
   *
   * @return list<string>
   *   Keys.
   */
  public function takeWith(string $key): array {
    $together = in_array($key, $this->promised, TRUE) ? $this->promised : [];
    $this->promised = [];
    return $together;
  }

  /**
   * A directory was removed, and those with it.
   *
   * @param string $key
   *   The directory.
   * @param list<string> $together
   *   What takeWith() gave.
   */
  public function removed(string $key, array $together): void {
    $this->gone = array_values(array_diff($together, [$key]));
  }

  /**
   * Whether the question comes from an image style that is being emptied.
   */
  private function isAsking(): bool {
    foreach (debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS, self::DEPTH) as $caller) {
      if ($caller['function'] === 'flush' && is_a($caller['class'] ?? '', ImageStyleInterface::class, TRUE)) {
        return TRUE;
      }
    }
    return FALSE;
  }

}
