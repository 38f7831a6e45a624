<?php

declare(strict_types=1);

namespace Drupal\cistern;

use Cistern\Client;
use Cistern\Entry;
use Cistern\Exception\Conflict;
use Cistern\PutOptions;
use Drupal\Core\Database\Connection;

/**
 * Compares the site's file_managed with the store.
 *
 * In batches: a thousand rows, or a thousand names, in one request.
 */
class Verifier {

  private const BATCH = 1000;

  /**
   * What core stores without a row.
   */
  private const UNMANAGED = '~^[^/]+/(?:styles|media-icons|oembed_thumbnails|languages|css|js)/|(?:^|/)\.~';

  public function __construct(protected Mover $mover, protected Connection $database) {}

  /**
   * Tells each difference.
   *
   * @param list<string> $schemes
   *   Of which files.
   * @param bool $orphans
   *   Whether also files that have no row.
   * @param string $repair
   *   A directory that has what public:// had; '': only look.
   * @param string $repair_scheme
   *   The scheme whose files it has.
   *
   * @return \Generator<int, array{kind: string, uri: string, found: string, repaired: bool}>
   *   kind is 'missing', 'size', 'old' (only in the old directory) or 'orphan'.
   */
  public function differences(array $schemes, bool $orphans = TRUE, string $repair = '', string $repair_scheme = 'public'): \Generator {
    $client = $this->mover->client();
    foreach ($schemes as $scheme) {
      yield from $this->rows($client, $scheme, $scheme === $repair_scheme ? rtrim($repair, '/') : '');
      if ($orphans) {
        yield from $this->orphans($client, $scheme);
      }
    }
  }

  /**
   * Rows whose file is not there, or is another one.
   */
  private function rows(Client $client, string $scheme, string $repair): \Generator {
    $old = $this->mover->trees()[$scheme] ?? NULL;
    $last = 0;
    do {
      $rows = $this->database->select('file_managed', 'f')
        ->fields('f', ['fid', 'uri', 'filesize', 'status'])
        ->condition('fid', $last, '>')
        ->condition('uri', $this->database->escapeLike("$scheme://") . '%', 'LIKE')
        ->orderBy('fid')
        ->range(0, self::BATCH)
        ->execute()
        ->fetchAll();
      $keys = [];
      foreach ($rows as $row) {
        $last = $row->fid;
        $keys[$row->uri] = $this->key($row->uri);
      }
      $found = $client->statMany(array_values(array_unique($keys)), TRUE);
      foreach ($rows as $row) {
        $entry = $found[$keys[$row->uri]];
        $path = substr($keys[$row->uri], strlen($scheme) + 1);
        $size = $row->filesize === NULL ? NULL : (int) $row->filesize;
        if ($entry?->isFile() === TRUE && ($size === NULL || $entry->size === $size)) {
          continue;
        }
        $repaired = $repair !== '' && $this->repair($client, $keys[$row->uri], "$repair/$path", $size, $entry);
        $in_old = $entry === NULL && $old?->find($path) !== NULL;
        yield [
          'kind' => $entry?->isFile() === TRUE ? 'size' : ($in_old ? 'old' : 'missing'),
          'uri' => $row->uri,
          'found' => $entry?->isFile() === TRUE ? "$entry->size bytes, file_managed says $size" : ($in_old ? 'only in the old directory' : 'nothing'),
          'repaired' => $repaired,
        ];
      }
    } while (count($rows) === self::BATCH);
  }

  /**
   * Files that no row names.
   */
  private function orphans(Client $client, string $scheme): \Generator {
    if ($client->stat($scheme, TRUE) === NULL) {
      return;
    }
    $batch = [];
    foreach ($client->list($scheme, TRUE) as $entry) {
      if ($entry->isFile() && !preg_match(self::UNMANAGED, $entry->key)) {
        $batch["$scheme://" . substr($entry->key, strlen($scheme) + 1)] = $entry;
      }
      if (count($batch) >= self::BATCH) {
        yield from $this->orphansOf($batch);
        $batch = [];
      }
    }
    yield from $this->orphansOf($batch);
  }

  /**
   * Those of a batch that no row names.
   *
   * @param array<string, \Cistern\Entry> $entries
   *   By URI.
   */
  private function orphansOf(array $entries): \Generator {
    if ($entries === []) {
      return;
    }
    $known = $this->database->select('file_managed', 'f')
      ->fields('f', ['uri'])
      ->condition('uri', array_keys($entries), 'IN')
      ->execute()
      ->fetchCol();
    foreach (array_diff_key($entries, array_flip($known)) as $uri => $entry) {
      yield ['kind' => 'orphan', 'uri' => $uri, 'found' => "$entry->size bytes, no row", 'repaired' => FALSE];
    }
  }

  /**
   * Puts a file of the directory into its place, if it is the right one.
   */
  private function repair(Client $client, string $key, string $path, ?int $size, ?Entry $entry): bool {
    if (!is_file($path) || is_link($path) || ($size !== NULL && filesize($path) !== $size)) {
      return FALSE;
    }
    $options = new PutOptions(
      mtime: new \DateTimeImmutable('@' . filemtime($path)),
      meta: ['mode' => sprintf('%04o', fileperms($path) & 0777)],
      // Not over what the site has stored meanwhile.
      ifNoneMatch: $entry === NULL,
      ifMatch: $entry?->etag,
    );
    try {
      $client->putFile($key, $path, $options);
      return TRUE;
    }
    catch (Conflict) {
      return FALSE;
    }
  }

  /**
   * The key of a URI.
   */
  private function key(string $uri): string {
    [$scheme, $path] = explode('://', $uri, 2);
    return $scheme . '/' . trim(preg_replace('~/+~', '/', $path), '/');
  }

}
