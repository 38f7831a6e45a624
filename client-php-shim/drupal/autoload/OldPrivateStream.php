<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Drupal\Core\StreamWrapper\PrivateStream as CorePrivateStream;

/**
 * The scheme private:// in the old directory, while the switch says 'local'.
 */
class OldPrivateStream extends CorePrivateStream {

  use OldDirectoryStream;

  /**
   * {@inheritdoc}
   */
  protected static function scheme(): string {
    return 'private';
  }

}
