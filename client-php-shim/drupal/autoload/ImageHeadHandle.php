<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Entry;
use Cistern\Exception\Conflict;
use Cistern\ReadStream;
use Cistern\Stream\FileStat;
use Cistern\Stream\Handle;
use Cistern\Stream\Positions;

/**
 * An image whose first bytes may be known; only what lies beyond is asked for.
 */
final class ImageHeadHandle implements Handle {

  /**
   * Where the next read begins.
   */
  private int $position = 0;

  /**
   * As with local files, the end is seen by who reads there.
   */
  private bool $ended = FALSE;

  /**
   * The file, once it is needed.
   */
  private ?ReadStream $stream = NULL;

  /**
   * Opens an image.
   *
   * @param \Closure(): \Cistern\ReadStream $open
   *   Opens the file.
   * @param \Cistern\Entry $entry
   *   What it is in the store.
   * @param string $head
   *   Its first bytes, as far as they are known.
   * @param (\Closure(string): void)|null $learn
   *   Is told the first bytes that come.
   */
  public function __construct(
    private readonly \Closure $open,
    private readonly Entry $entry,
    private readonly string $head,
    private ?\Closure $learn = NULL,
  ) {
    if ($head === '') {
      $this->stream = $open();
    }
  }

  /**
   * {@inheritdoc}
   */
  public function read(int $length): string {
    if ($this->position < strlen($this->head)) {
      $bytes = substr($this->head, $this->position, $length);
    }
    else {
      $stream = $this->stream();
      $stream->seek($this->position);
      $bytes = $stream->read($length);
      if ($this->position === 0 && $this->learn !== NULL) {
        ($this->learn)($bytes);
        $this->learn = NULL;
      }
    }
    $this->position += strlen($bytes);
    $this->ended = $bytes === '';
    return $bytes;
  }

  /**
   * {@inheritdoc}
   */
  public function write(string $bytes): int {
    return 0;
  }

  /**
   * {@inheritdoc}
   */
  public function eof(): bool {
    return $this->ended;
  }

  /**
   * {@inheritdoc}
   */
  public function tell(): int {
    return $this->position;
  }

  /**
   * {@inheritdoc}
   */
  public function seek(int $offset, int $whence): bool {
    $this->ended = FALSE;
    $target = Positions::target($offset, $whence, $this->position, $this->entry->size);
    $this->position = $target ?? $this->position;
    return $target !== NULL;
  }

  /**
   * {@inheritdoc}
   */
  public function truncate(int $size): bool {
    return FALSE;
  }

  /**
   * {@inheritdoc}
   */
  public function stat(): array {
    return FileStat::of($this->entry);
  }

  /**
   * {@inheritdoc}
   */
  public function close(): void {
    if ($this->stream !== NULL) {
      $this->stream->close();
    }
  }

  /**
   * {@inheritdoc}
   */
  public function abandon(string $uri): void {
    $this->close();
  }

  /**
   * The file, if it still is the version whose beginning was read.
   *
   * @throws \Cistern\Exception\CisternException
   */
  private function stream(): ReadStream {
    if ($this->stream === NULL) {
      $this->stream = ($this->open)();
      if ($this->stream->entry->etag !== $this->entry->etag) {
        throw new Conflict("'{$this->entry->key}' was replaced while it was read; read it again.");
      }
    }
    return $this->stream;
  }

}
