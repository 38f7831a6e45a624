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
   * Where its files are served, below the site's base path.
   */
  public const PATH = 'cistern/files';

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
    return self::PATH;
  }

  /**
   * {@inheritdoc}
   */
  public function getExternalUrl() {
    return $GLOBALS['base_url'] . '/' . self::PATH . '/' . UrlHelper::encodePath($this->target());
  }

}
