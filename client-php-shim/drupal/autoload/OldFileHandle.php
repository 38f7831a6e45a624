<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Exception\Unavailable;
use Cistern\Stream\Handle;

/**
 * A file of the old directory that was opened for reading.
 */
final class OldFileHandle implements Handle {

  /**
   * The open file.
   *
   * @var resource
   */
  private $file;

  /**
   * Opens it.
   *
   * @param string $path
   *   Where it is.
   * @param array<int|string, int> $stat
   *   As PHP's stat().
   */
  public function __construct(private readonly string $path, private readonly array $stat) {
    $this->file = @fopen($path, 'rb') ?: throw new Unavailable("The file $path of the old directory cannot be read.");
  }

  /**
   * {@inheritdoc}
   */
  public function read(int $length): string|false {
    $bytes = fread($this->file, $length);
    return $bytes === FALSE ? throw new Unavailable("The file $this->path of the old directory cannot be read.") : $bytes;
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
    return feof($this->file);
  }

  /**
   * {@inheritdoc}
   */
  public function tell(): int {
    return (int) ftell($this->file);
  }

  /**
   * {@inheritdoc}
   */
  public function seek(int $offset, int $whence): bool {
    return fseek($this->file, $offset, $whence) === 0;
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
    return $this->stat;
  }

  /**
   * {@inheritdoc}
   */
  public function close(): void {
    fclose($this->file);
  }

  /**
   * {@inheritdoc}
   */
  public function abandon(string $uri): void {
    fclose($this->file);
  }

}
