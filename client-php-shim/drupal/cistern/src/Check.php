<?php

declare(strict_types=1);

namespace Drupal\cistern;

use Drupal\Core\StringTranslation\TranslatableMarkup;

/**
 * What one check found.
 */
final class Check {

  public const OK = 'ok';
  public const WARNING = 'warning';
  public const ERROR = 'error';

  /**
   * One result.
   *
   * @param string $id
   *   Names the check: 'trackers'.
   * @param \Drupal\Core\StringTranslation\TranslatableMarkup $title
   *   What was looked at.
   * @param self::OK|self::WARNING|self::ERROR $state
   *   The verdict.
   * @param \Drupal\Core\StringTranslation\TranslatableMarkup $found
   *   What was found, and what to do about it.
   */
  public function __construct(
    public readonly string $id,
    public readonly TranslatableMarkup $title,
    public readonly string $state,
    public readonly TranslatableMarkup $found,
  ) {}

}
