<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Drupal\Component\Utility\UrlHelper;
use Drupal\Core\StringTranslation\StringTranslationTrait;

/**
 * The scheme cistern://, for sites that want only some fields in the store.
 *
 * Public, at /cistern/files/.
 */
class CisternStream extends RemoteStream {

  use StringTranslationTrait;

  /**
   * {@inheritdoc}
   */
  public function getName() {
    return $this->t('Cistern');
  }

  /**
   * {@inheritdoc}
   */
  public function getDescription() {
    return $this->t('Public files in Cistern, apart from the public files directory.');
  }

  /**
   * {@inheritdoc}
   */
  public function getDirectoryPath() {
    return FileMiddleware::OWN_PATH;
  }

  /**
   * {@inheritdoc}
   */
  public function getExternalUrl() {
    return $GLOBALS['base_url'] . '/' . FileMiddleware::OWN_PATH . '/' . UrlHelper::encodePath($this->target());
  }

}
