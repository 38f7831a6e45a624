<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Stream\Handle;
use Cistern\Stream\Positions;

/**
 * An image that is read from what is kept of it.
 */
final class RecentImageHandle implements Handle {

  /**
   * Where the next read begins.
   */
  private int $position = 0;

  public function __construct(private readonly RecentImages $recent, private readonly string $key) {}

  /**
   * {@inheritdoc}
   */
  public function read(int $length): string {
    $bytes = $this->recent->read($this->key, $this->position, $length) ?? throw new \RuntimeException("'$this->key' was changed while it was read.");
    $this->position += strlen($bytes);
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
    return $this->position >= $this->stat()['size'];
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
    $target = Positions::target($offset, $whence, $this->position, $this->stat()['size']);
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
    return $this->recent->stat($this->key) ?? ['size' => 0];
  }

  /**
   * {@inheritdoc}
   */
  public function close(): void {}

  /**
   * {@inheritdoc}
   */
  public function abandon(string $uri): void {}

}
