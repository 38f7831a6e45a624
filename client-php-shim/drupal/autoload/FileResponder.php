<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Entry;
use Cistern\Exception\Conflict;
use Cistern\Exception\InvalidRequest;
use Cistern\Exception\NotFound;
use Cistern\Moving\LocalFile;
use Cistern\ReadStream;
use Drupal\Core\Site\Settings;
use Symfony\Component\HttpFoundation\BinaryFileResponse;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpFoundation\StreamedResponse;

/**
 * HTTP answers that carry files.
 *
 * Conditions, ranges and caching after RFC 9110 and 9111, and what keeps a file
 * that somebody uploaded from acting as a page of the site.
 */
final class FileResponder {

  /**
   * Names that are never served: hidden ones, and what a server might run.
   */
  private const NEVER = '~(?:^|/)\.|\.(?:ph(?:p\d*|tml|t|ps|ar)|inc|pl|py|cgi|fcgi|aspx?|jspx?|rb|sh|bash|htaccess)$~i';

  /**
   * Types that run scripts when they are opened as a document.
   */
  private const DOCUMENT = '~^(?:text/(?:html|xml|xsl)|application/(?:xml|xhtml\+xml)|[^;\s]+\+xml)\s*(?:;|$)~i';

  /**
   * What such a document may do: be looked at.
   */
  private const SANDBOX = "sandbox; default-src 'none'; img-src 'self' data:; media-src 'self' data:; font-src 'self' data:; style-src 'unsafe-inline'";

  private const YEAR = 31536000;

  private const CHUNK = 262144;

  public function __construct(private readonly Store $store) {}

  /**
   * The answer to a GET or HEAD request for a key.
   *
   * NULL if there is no file that may be served.
   *
   * @throws \Cistern\Exception\CisternException
   *   If it cannot be told.
   */
  public function respond(Request $request, string $key): ?Response {
    $path = substr($key, (int) strpos($key, '/') + 1);
    if (preg_match(self::NEVER, $path)) {
      return NULL;
    }
    try {
      $response = $this->isOld($key) ? NULL : $this->file($request, $key);
    }
    catch (NotFound | Conflict | InvalidRequest) {
      // Nothing there, a directory, or a path that cannot be a key.
      $response = NULL;
    }
    return $response ?? $this->oldFile($request, $key);
  }

  /**
   * Whether there is a file, as things are now.
   */
  public function exists(string $key): bool {
    return (!$this->isOld($key) && $this->store->client->stat($key, fresh: TRUE) !== NULL) || $this->findOld($key) !== NULL;
  }

  /**
   * Whether the switch says that a file is in the old directory.
   */
  private function isOld(string $key): bool {
    return $this->store->options->isLocal() && !str_starts_with($key, 'cistern/');
  }

  /**
   * What the old directory has of a key.
   *
   * While the site works there, all of it; else what is not in the store yet.
   */
  private function findOld(string $key): ?LocalFile {
    if (str_contains("/$key/", '/../') || str_contains($key, "\0")) {
      return NULL;
    }
    if (!$this->isOld($key)) {
      return $this->store->old?->find($key);
    }
    [$scheme, $path] = explode('/', $key, 2);
    return (OldDirectories::trees(Settings::getInstance())[$scheme] ?? NULL)?->find(trim($path, '/'));
  }

  /**
   * The answer with a file of the old directory; NULL if it has none.
   */
  private function oldFile(Request $request, string $key): ?Response {
    $file = $this->findOld($key);
    if ($file === NULL || $file->isDirectory) {
      return NULL;
    }
    $type = \Drupal::service('file.mime_type.guesser')->guessMimeType($file->local) ?: 'application/octet-stream';
    // The entity tag would be another one on each side, and let nobody go on
    // with a download.
    $headers = ['Content-Type' => $type, 'Cache-Control' => "public, max-age={$this->store->options->maxAge()}"];
    $response = new BinaryFileResponse($file->local, 200, $headers, TRUE, NULL, FALSE, TRUE);
    $this->secure($response, $type);
    $response->isNotModified($request);
    return $response;
  }

  /**
   * Secures an answer of Drupal's that carries a file of the store.
   *
   * Lets nginx send it where that is set up.
   */
  public function finish(BinaryFileResponse $response): Response {
    $uri = $response->getFile()->getPathname();
    if (!$this->store->isOwn($uri)) {
      return $response;
    }
    $headers = $response->headers;
    $this->secure($response, (string) $headers->get('Content-Type'));
    $location = $this->store->options->xAccel();
    if ($location === '' || !str_starts_with($uri, 'private://') || ($this->store->old !== NULL && $this->store->client->stat($this->store->key($uri)) === NULL)) {
      return $response;
    }
    $key = $this->store->fullKey($uri);
    $headers->set('X-Accel-Redirect', $location . implode('/', array_map('rawurlencode', explode('/', $key))));
    foreach (['Content-Length', 'Content-Range', 'Accept-Ranges', 'Last-Modified', 'ETag'] as $name) {
      // The store says these.
      $headers->remove($name);
    }
    return new Response('', 200, $headers->all());
  }

  /**
   * The answer, if the key is a file's.
   */
  private function file(Request $request, string $key): ?Response {
    $conditional = $request->headers->has('If-None-Match') || $request->headers->has('If-Modified-Since');
    $stream = NULL;
    if ($conditional || $request->isMethod('HEAD')) {
      // A look-up is cheaper than a file that is not sent.
      $entry = $this->store->client->stat($key);
      if ($entry?->isFile() !== TRUE) {
        return NULL;
      }
      $headers = $this->headers($request, $entry);
      if ($this->isNotModified($request, $headers)) {
        unset($headers['Content-Type'], $headers['Content-Length']);
        return new Response('', 304, $headers);
      }
      if ($request->isMethod('HEAD')) {
        return new Response('', 200, $headers);
      }
    }
    $stream = $this->store->client->open($key, whole: !$request->headers->has('Range'));
    return $this->body($request, $stream, $this->headers($request, $stream->entry));
  }

  /**
   * An answer with the bytes that are asked for: all, or one range.
   *
   * @param \Symfony\Component\HttpFoundation\Request $request
   *   The request.
   * @param \Cistern\ReadStream $stream
   *   The file.
   * @param array<string, string> $headers
   *   For the whole file.
   */
  private function body(Request $request, ReadStream $stream, array $headers): Response {
    $size = $stream->entry->size;
    [$first, $last] = $this->range($request, $headers, $size) ?? [0, $size - 1];
    if ($first > $last && $size > 0) {
      $stream->close();
      return new Response('', 416, ['Content-Range' => "bytes */$size", 'Cache-Control' => 'no-store']);
    }
    $length = $last - $first + 1;
    if ($length < $size) {
      $headers = ['Content-Length' => (string) $length, 'Content-Range' => "bytes $first-$last/$size"] + $headers;
      $stream->seek($first);
    }
    return new StreamedResponse(fn() => $this->send($stream, $length), $length < $size ? 206 : 200, $headers);
  }

  /**
   * Sends bytes as they come.
   *
   * If they end early, so does the answer: its length tells the client.
   */
  private function send(ReadStream $stream, int $length): void {
    try {
      while ($length > 0 && !connection_aborted()) {
        $bytes = $stream->read(min($length, self::CHUNK));
        $length -= strlen($bytes);
        echo $bytes;
        flush();
      }
    }
    catch (\Exception $e) {
      // Drupal would print an error page into the file.
      Store::log('error', "The file '{key}' was cut off after it was begun: {why}", [
        'key' => $stream->entry->key,
        'why' => $e->getMessage(),
      ]);
    }
    finally {
      $stream->close();
    }
  }

  /**
   * The headers of an answer with the whole file.
   *
   * @return array<string, string>
   *   By name.
   */
  private function headers(Request $request, Entry $entry): array {
    // The address of a derivative holds a token, and core gave these a year
    // too.
    $derivative = $request->query->has('itok') && preg_match('~^[^/]+/styles/~', $entry->key);
    $age = $derivative ? self::YEAR : $this->store->options->maxAge();
    $response = new Response('', 200, ['Content-Type' => $entry->contentType ?: 'application/octet-stream']);
    $this->secure($response, $entry->contentType);
    $headers = array_map(fn(array $values): string => (string) $values[0], $response->headers->allPreserveCaseWithoutCookies());
    return [
      'ETag' => $entry->etag,
      'Last-Modified' => gmdate('D, d M Y H:i:s', (int) $entry->mtime) . ' GMT',
      'Accept-Ranges' => 'bytes',
      'Content-Length' => (string) $entry->size,
      'Cache-Control' => $age > 0 ? "public, max-age=$age" : 'public, no-cache',
    ] + $headers;
  }

  /**
   * Adds what keeps a file from acting as a page of the site.
   */
  private function secure(Response $response, string $type): void {
    $response->headers->set('X-Content-Type-Options', 'nosniff');
    if (preg_match(self::DOCUMENT, $type)) {
      $response->headers->set('Content-Security-Policy', self::SANDBOX);
    }
  }

  /**
   * Whether the client has this version (RFC 9110, 13.1).
   *
   * A date must be exactly the file's: an older file may have been moved over a
   * newer one.
   *
   * @param \Symfony\Component\HttpFoundation\Request $request
   *   The request.
   * @param array<string, string> $headers
   *   Of the whole file.
   */
  private function isNotModified(Request $request, array $headers): bool {
    $tags = $request->getETags();
    if ($tags !== []) {
      $weak = array_map(fn(string $tag): string => preg_replace('/^W\//', '', $tag), $tags);
      return in_array('*', $tags, TRUE) || in_array($headers['ETag'], $weak, TRUE);
    }
    return $request->headers->get('If-Modified-Since') === $headers['Last-Modified'];
  }

  /**
   * The one range that is asked for (RFC 9110, 14.2), as first and last byte.
   *
   * @param \Symfony\Component\HttpFoundation\Request $request
   *   The request.
   * @param array<string, string> $headers
   *   Of the whole file.
   * @param int $size
   *   The file's.
   *
   * @return array{int, int}|null
   *   NULL for the whole file, which several ranges get too; the first after
   *   the last if there is no such range.
   */
  private function range(Request $request, array $headers, int $size): ?array {
    $condition = $request->headers->get('If-Range');
    $holds = $condition === NULL || in_array($condition, [$headers['ETag'], $headers['Last-Modified']], TRUE);
    if (!$holds || !preg_match('/^bytes=(\d*)-(\d*)$/', (string) $request->headers->get('Range'), $match)) {
      return NULL;
    }
    [, $first, $last] = $match;
    if ($first === '') {
      return $last === '' ? NULL : [max(0, $size - (int) $last), (int) $last === 0 ? -1 : $size - 1];
    }
    if ($last !== '' && (int) $last < (int) $first) {
      return NULL;
    }
    return (int) $first >= $size ? [1, 0] : [(int) $first, $last === '' ? $size - 1 : min((int) $last, $size - 1)];
  }

}
