<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Exception\CisternException;
use Cistern\Exception\Unavailable;
use Drupal\Core\StreamWrapper\PublicStream as CorePublicStream;
use Symfony\Component\DependencyInjection\ContainerInterface;
use Symfony\Component\HttpFoundation\BinaryFileResponse;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpKernel\HttpKernelInterface;

/**
 * Serves public files where they always were: /sites/default/files/...
 *
 * This works on any web server that hands missing files to Drupal. It comes
 * before the page cache: a file that was stored a moment ago is there.
 *
 * A miss goes on to Drupal, which makes image derivatives or answers 404. An
 * outage is 503, never 404.
 */
final class FileMiddleware implements HttpKernelInterface {

  /**
   * Where files of the scheme cistern:// are, below the site's base path.
   */
  public const OWN_PATH = 'cistern/files';

  /**
   * Seconds that clients are told to wait in an outage.
   */
  private const RETRY_AFTER = 5;

  /**
   * Seconds after which a waiting request tries itself to make the derivative.
   */
  private const TRY_AGAIN = 2.0;

  /**
   * CSS and JavaScript that Drupal aggregates.
   *
   * They are on each web head's own disk, though at the address of public
   * files.
   */
  private const AGGREGATE = '~^public/(?:css|js)/(?:css|js)_[\w-]+\.(?:css|js)$~';

  /**
   * Where Drupal serves private files, perhaps below a language prefix.
   */
  private const PRIVATE_PATH = '/system/files/';

  /**
   * Takes the container: most requests are for pages and need no store.
   *
   * Loading the client would be the larger part of what a hit of the page cache
   * costs beyond a local disk.
   */
  public function __construct(private readonly HttpKernelInterface $next, private readonly ContainerInterface $container) {}

  /**
   * {@inheritdoc}
   */
  public function handle(Request $request, int $type = self::MAIN_REQUEST, bool $catch = TRUE): Response {
    if ($type !== self::MAIN_REQUEST) {
      return $this->next->handle($request, $type, $catch);
    }
    // A process that has a store may have served other requests before.
    if (class_exists(Store::class, FALSE)) {
      $this->store()->beginRequest();
    }
    $path = rawurldecode($request->getPathInfo());
    $public = $this->publicKey($path);
    $private = strstr($path, self::PRIVATE_PATH);
    if ($public === NULL && $private === FALSE) {
      $response = $this->next->handle($request, $type, $catch);
      if (class_exists(Store::class, FALSE)) {
        $this->store()->heads->end();
      }
      return $response;
    }
    $key = $public ?? 'private/' . substr((string) $private, strlen(self::PRIVATE_PATH));
    return $this->store()->strictly(fn(): Response => $this->handleFile($request, $key, $public !== NULL, $catch));
  }

  /**
   * Answers a request for a file.
   *
   * @param \Symfony\Component\HttpFoundation\Request $request
   *   The request.
   * @param string $key
   *   What it asks for.
   * @param bool $public
   *   Whether anybody may have it.
   * @param bool $catch
   *   As in handle().
   */
  private function handleFile(Request $request, string $key, bool $public, bool $catch): Response {
    if ($public && in_array($request->getMethod(), ['GET', 'HEAD'], TRUE)) {
      $response = $this->serve($request, $key);
      if ($response !== NULL) {
        return $response;
      }
    }
    $derivative = preg_match('~^[^/]+/styles/~', $key) === 1;
    if ($derivative) {
      $this->store()->recent->begin($key, $public);
    }
    // Drupal changes the request on its way; a second attempt needs it as it
    // was.
    $pristine = clone $request;
    $response = $this->next->handle($request, self::MAIN_REQUEST, $catch);
    if ($derivative && $this->isBeingMade($response)) {
      $response = $this->waitForDerivative($response, $pristine, $key, $public, $catch);
    }
    $outage = $this->store()->outage();
    if ($outage !== NULL && in_array($response->getStatusCode(), [404, 500], TRUE)) {
      return $this->unavailable($outage);
    }
    return $response instanceof BinaryFileResponse ? $this->responder()->finish($response) : $response;
  }

  /**
   * The file as an answer; NULL if there is none.
   */
  private function serve(Request $request, string $key): ?Response {
    try {
      return $this->responder()->respond($request, $key);
    }
    catch (CisternException $e) {
      return $this->unavailable($e);
    }
  }

  /**
   * Waits, for a time, until another request has made an image derivative.
   */
  private function waitForDerivative(Response $response, Request $request, string $key, bool $public, bool $catch): Response {
    $end = microtime(TRUE) + $this->store()->options->derivativeWait();
    $pause = 0.05;
    $try = microtime(TRUE) + self::TRY_AGAIN;
    while ($this->isBeingMade($response) && microtime(TRUE) < $end) {
      usleep((int) ($pause * 1e6));
      $pause = min($pause * 1.5, 0.5);
      try {
        $made = $this->responder()->exists($key);
      }
      catch (CisternException $e) {
        return $this->unavailable($e);
      }
      if ($made && $public) {
        return $this->serve($request, $key) ?? $response;
      }
      if ($made || microtime(TRUE) > $try) {
        // Drupal checks access to a private one, or takes the place of a maker
        // that has gone.
        $try = microtime(TRUE) + self::TRY_AGAIN;
        $response = $this->next->handle(clone $request, self::MAIN_REQUEST, $catch);
      }
    }
    return $response;
  }

  /**
   * Whether core says that another request is making the derivative.
   */
  private function isBeingMade(Response $response): bool {
    return $response->getStatusCode() === 503 && $this->store()->outage() === NULL;
  }

  /**
   * The key of a public file's path, NULL for all other paths.
   */
  private function publicKey(string $path): ?string {
    $bases = ['cistern' => self::OWN_PATH];
    if ($this->container->get('cistern.options')->isMoved('public')) {
      $bases['public'] = CorePublicStream::basePath();
    }
    foreach ($bases as $scheme => $base) {
      if (str_starts_with($path, "/$base/")) {
        $key = $scheme . '/' . substr($path, strlen($base) + 2);
        return preg_match(self::AGGREGATE, $key) ? NULL : $key;
      }
    }
    return NULL;
  }

  /**
   * The answer while the store cannot be asked. Nobody may keep it.
   */
  private function unavailable(CisternException $e): Response {
    if ($e instanceof Unavailable) {
      $this->store()->noticeOutage($e);
    }
    Store::log('error', 'A file cannot be served: {why}', ['why' => $e->getMessage()]);
    return new Response("The file cannot be fetched at the moment. Try again in a few seconds.\n", 503, [
      'Content-Type' => 'text/plain; charset=utf-8',
      'Retry-After' => self::RETRY_AFTER,
      'Cache-Control' => 'no-store',
      'X-Content-Type-Options' => 'nosniff',
    ]);
  }

  /**
   * The site's files.
   */
  private function store(): Store {
    return $this->container->get('cistern.store');
  }

  /**
   * Makes the answers.
   */
  private function responder(): FileResponder {
    return new FileResponder($this->store());
  }

}
