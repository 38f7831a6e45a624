<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Drupal\Core\StreamWrapper\PrivateStream as CorePrivateStream;
use Drupal\Core\StringTranslation\StringTranslationTrait;
use Drupal\Core\Url;

/**
 * The scheme private:// in Cistern, served after Drupal's access checks.
 */
class PrivateStream extends RemoteStream {

  use StringTranslationTrait;

  /**
   * {@inheritdoc}
   */
  public function getName() {
    return $this->t('Private files');
  }

  /**
   * {@inheritdoc}
   */
  public function getDescription() {
    return $this->t('Private files in Cistern, served by Drupal.');
  }

  /**
   * {@inheritdoc}
   */
  public function getDirectoryPath() {
    return CorePrivateStream::basePath();
  }

  /**
   * {@inheritdoc}
   */
  public function getExternalUrl() {
    return Url::fromRoute('system.private_file_download', ['filepath' => $this->target()], [
      'absolute' => TRUE,
      'path_processing' => FALSE,
    ])->toString();
  }

}
