<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Drupal\Component\Utility\UrlHelper;
use Drupal\Core\StreamWrapper\PublicStream as CorePublicStream;
use Drupal\Core\StringTranslation\StringTranslationTrait;

/**
 * The scheme public:// in Cistern.
 *
 * Its URLs are what they were on a local disk: content, image styles and tokens
 * keep working.
 */
class PublicStream extends RemoteStream {

  use StringTranslationTrait;

  /**
   * {@inheritdoc}
   */
  public function getName() {
    return $this->t('Public files');
  }

  /**
   * {@inheritdoc}
   */
  public function getDescription() {
    return $this->t('Public files in Cistern, served at the address of local files.');
  }

  /**
   * {@inheritdoc}
   */
  public function getExternalUrl() {
    return CorePublicStream::baseUrl() . '/' . UrlHelper::encodePath($this->target());
  }

}
