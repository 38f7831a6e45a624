<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Exception\ReadOnlyStore;
use Cistern\Exception\Unavailable;
use Drupal\Core\Database\Connection;
use Drupal\Core\Database\Database;
use Drupal\Core\Database\DatabaseException;

/**
 * Lets a process write files only while its side is the one in use.
 *
 * With its first write a process takes a share of a row's lock, in a
 * transaction on a connection of its own, and then looks at the flag again. It
 * keeps the share until it ends, however it ends. The command that changes
 * sides sets the flag first and then takes the lock alone: it has it when
 * nobody writes any more.
 */
final class WriteGuard {

  private const CONNECTION = 'cistern_switch';
  private const COPY_CONNECTION = 'cistern_copy';

  /**
   * Whether this process has its share.
   */
  private static bool $held = FALSE;

  /**
   * Somebody is going to write.
   *
   * @param string $side
   *   Where: 'local' or 'store'.
   * @param string $writes
   *   What the flag said when this request began.
   * @param string $key
   *   The file.
   *
   * @throws \Cistern\Exception\ReadOnlyStore
   *   If files are read-only now.
   * @throws \Cistern\Exception\Unavailable
   *   If the other side is in use meanwhile: the request is to be repeated.
   */
  public static function enter(string $side, string $writes, string $key): void {
    // Derivatives of images that do not change may be made at any time.
    $derivative = preg_match('~^[^/]+/styles/~', $key) === 1;
    if ($writes === 'no' && !$derivative) {
      throw new ReadOnlyStore("The site's files are read-only now (drush cistern:switch).");
    }
    if (self::$held) {
      return;
    }
    $connection = self::connection();
    if (!in_array($connection->driver(), ['pgsql', 'mysql'], TRUE)) {
      // A database in a file has one head.
      return;
    }
    self::select($connection, SwitchFlag::WRITERS, $connection->driver() === 'pgsql' ? 'FOR SHARE' : 'LOCK IN SHARE MODE');
    $flag = SwitchFlag::read($connection);
    if ($flag['side'] !== $side || $flag['writes'] === 'waiting') {
      $connection->query('ROLLBACK');
      throw new Unavailable("The site's files are moved from one place to the other. Try again in a few seconds.");
    }
    if ($flag['writes'] === 'no' && !$derivative) {
      $connection->query('ROLLBACK');
      throw new ReadOnlyStore("The site's files are read-only now (drush cistern:switch).");
    }
    self::$held = TRUE;
  }

  /**
   * Waits until no process writes.
   *
   * @param float $seconds
   *   How long at most.
   *
   * @return bool
   *   Whether that is so.
   */
  public static function waitForWriters(float $seconds): bool {
    if (!self::lock(SwitchFlag::WRITERS, $seconds)) {
      return FALSE;
    }
    if (in_array(self::connection()->driver(), ['pgsql', 'mysql'], TRUE)) {
      self::connection()->query('ROLLBACK');
    }
    return TRUE;
  }

  /**
   * Makes this process the only one that copies, until it ends.
   */
  public static function lockCopy(): bool {
    return self::lock(SwitchFlag::COPY, 0.0);
  }

  /**
   * Ends what lockCopy() began.
   */
  public static function unlockCopy(): void {
    if (in_array(self::connection(self::COPY_CONNECTION)->driver(), ['pgsql', 'mysql'], TRUE)) {
      self::connection(self::COPY_CONNECTION)->query('ROLLBACK');
    }
  }

  /**
   * Takes the lock of a row alone.
   */
  private static function lock(string $name, float $seconds): bool {
    $connection = self::connection($name === SwitchFlag::COPY ? self::COPY_CONNECTION : self::CONNECTION);
    if (!in_array($connection->driver(), ['pgsql', 'mysql'], TRUE)) {
      return TRUE;
    }
    for ($end = microtime(TRUE) + $seconds; TRUE; usleep(100000)) {
      try {
        self::select($connection, $name, 'FOR UPDATE NOWAIT');
        return TRUE;
      }
      catch (DatabaseException) {
        $connection->query('ROLLBACK');
        if (microtime(TRUE) >= $end) {
          return FALSE;
        }
      }
    }
  }

  /**
   * Begins a transaction and locks a row in it; makes the row if need be.
   *
   * The connection's own methods would set savepoints.
   */
  private static function select(Connection $connection, string $name, string $lock): void {
    $row = [':collection' => SwitchFlag::COLLECTION, ':name' => $name];
    while (TRUE) {
      $connection->query('START TRANSACTION');
      if ($connection->query("SELECT name FROM {key_value} WHERE collection = :collection AND name = :name $lock", $row)->fetchField() !== FALSE) {
        return;
      }
      $connection->query('ROLLBACK');
      $connection->merge('key_value')
        ->keys(['collection' => SwitchFlag::COLLECTION, 'name' => $name])
        ->insertFields(['collection' => SwitchFlag::COLLECTION, 'name' => $name, 'value' => serialize('')])
        ->execute();
    }
  }

  /**
   * A connection apart: the site's own may be in a transaction.
   */
  private static function connection(string $key = self::CONNECTION): Connection {
    if (!Database::getConnectionInfo($key)) {
      Database::addConnectionInfo($key, 'default', Database::getConnectionInfo('default')['default']);
    }
    return Database::getConnection('default', $key);
  }

}
