<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Drupal\Core\Database\Connection;
use Drupal\Core\Database\Database;
use Drupal\Core\Database\DatabaseExceptionWrapper;

/**
 * Where all web heads of a site have its files: one row in its key-value store.
 *
 * It is read once a web request, by settings.php, before anything else: in one
 * query, on the connection that Drupal uses afterwards. Each head obeys it at
 * its next request, by the services that it then puts into the container.
 *
 * `side` is 'local' (the old directory) or 'store'. `writes` is
 * - 'yes', or 'no': refused, until somebody says otherwise;
 * - 'draining': the side is about to change. Requests that begin now and may
 *   write wait, those that began before end as if nothing were;
 * - 'waiting': nobody writes, while the two sides are made alike.
 *
 * The last two have an end: if the command that set them is gone by then, the
 * first head that notices makes it 'yes' again.
 */
final class SwitchFlag {

  public const COLLECTION = 'cistern';

  /**
   * The flag's name, and those of rows that are only locked.
   */
  public const NAME = 'switch';
  public const WRITERS = 'switch.writers';
  public const COPY = 'switch.copy';

  /**
   * What it is where nobody has set it: settings.php alone changes nothing.
   */
  private const DEFAULT = ['side' => 'local', 'writes' => 'yes', 'until' => 0, 'id' => ''];

  /**
   * Reads it.
   *
   * @return array{side: string, writes: string, until: int, id: string}
   *   The flag.
   */
  public static function read(Connection $database): array {
    $text = self::text($database);
    $flag = $text === '' ? self::DEFAULT : (unserialize($text, ['allowed_classes' => FALSE]) ?: []) + self::DEFAULT;
    if ($flag['until'] !== 0 && $flag['until'] < time()) {
      // Whoever set it would renew it. Only one head's attempt succeeds.
      self::replace($database, $flag, $healed = ['writes' => 'yes', 'until' => 0, 'id' => ''] + $flag);
      return $healed;
    }
    return $flag;
  }

  /**
   * Sets it, if it still is what it was.
   *
   * @param \Drupal\Core\Database\Connection $database
   *   The site's database.
   * @param array{side: string, writes: string, until: int, id: string} $from
   *   What it was.
   * @param array{side: string, writes: string, until: int, id: string} $to
   *   What it shall be.
   *
   * @return bool
   *   Whether it was set.
   */
  public static function replace(Connection $database, array $from, array $to): bool {
    $old = self::text($database);
    if ($old === '' ? $from !== self::DEFAULT : unserialize($old, ['allowed_classes' => FALSE]) != $from) {
      return FALSE;
    }
    if ($old === '') {
      $database->insert('key_value')->fields([
        'collection' => self::COLLECTION,
        'name' => self::NAME,
        'value' => serialize($to),
      ])->execute();
      return TRUE;
    }
    return serialize($to) === $old || (bool) $database->update('key_value')
      ->fields(['value' => serialize($to)])
      ->condition('collection', self::COLLECTION)
      ->condition('name', self::NAME)
      ->condition('value', $old)
      ->execute();
  }

  /**
   * Reads it in settings.php; a request that may write waits for a change.
   *
   * @param array<string, mixed> $databases
   *   The $databases of settings.php.
   * @param string $app_root
   *   Where Drupal is.
   * @param float $wait
   *   Seconds that it waits at most.
   *
   * @return array{side: string, writes: string, until: int, id: string}
   *   The flag.
   *
   * @throws \Exception
   *   If the database cannot be asked. Drupal cannot do without it either.
   */
  public static function atBoot(array $databases, string $app_root, float $wait): array {
    $info = $databases['default']['default'] ?? throw new \InvalidArgumentException("Cistern's setting 'switch' wants the \$databases of settings.php, which must stand above the line.");
    // What Drupal does next, and then finds done.
    Database::addConnectionInfo('default', 'default', $info, require "$app_root/autoload.php", $app_root);
    try {
      $database = Database::getConnection('default', 'default');
      $flag = self::read($database);
      for ($end = microtime(TRUE) + $wait; self::isChanging($flag) && self::mayWrite() && microtime(TRUE) < $end;) {
        usleep(100000);
        $flag = self::read($database);
      }
      return $flag;
    }
    catch (DatabaseExceptionWrapper $e) {
      // The site is being installed.
      return self::hasTable() ? throw $e : self::DEFAULT;
    }
  }

  /**
   * Whether the side is being changed.
   *
   * @param array{side: string, writes: string, until: int, id: string} $flag
   *   The flag.
   */
  public static function isChanging(array $flag): bool {
    return in_array($flag['writes'], ['draining', 'waiting'], TRUE);
  }

  /**
   * Whether this web request may write files, as far as can be told so early.
   *
   * Commands do not wait: one of them makes the change.
   */
  private static function mayWrite(): bool {
    return PHP_SAPI !== 'cli' && (
      !in_array($_SERVER['REQUEST_METHOD'] ?? 'GET', ['GET', 'HEAD', 'OPTIONS'], TRUE)
      || str_contains((string) ($_SERVER['REQUEST_URI'] ?? ''), '/styles/'));
  }

  /**
   * The row as it is, '' if there is none.
   */
  private static function text(Connection $database): string {
    return (string) $database->query('SELECT value FROM {key_value} WHERE collection = :collection AND name = :name', [
      ':collection' => self::COLLECTION,
      ':name' => self::NAME,
    ])->fetchField();
  }

  /**
   * Whether the table is there.
   */
  private static function hasTable(): bool {
    try {
      return Database::getConnection()->schema()->tableExists('key_value');
    }
    catch (\Exception) {
      return TRUE;
    }
  }

}
