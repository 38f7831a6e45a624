<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Drupal\Core\StreamWrapper\PublicStream as CorePublicStream;

/**
 * The scheme public:// in the old directory, while the switch says 'local'.
 */
class OldPublicStream extends CorePublicStream {

  use OldDirectoryStream;

  /**
   * {@inheritdoc}
   */
  protected static function scheme(): string {
    return 'public';
  }

}
