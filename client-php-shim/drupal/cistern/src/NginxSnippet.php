<?php

declare(strict_types=1);

namespace Drupal\cistern;

use Cistern\Client;
use Cistern\Drupal\Store;
use Drupal\Core\StreamWrapper\PublicStream;

/**
 * The package's nginx configuration (web/nginx) with the values of this site.
 */
class NginxSnippet {

  public function __construct(protected string $root, protected ?Store $store) {}

  /**
   * Both parts: for `http {}` and for `server {}`.
   *
   * @param string $base_path
   *   The sub-directory that the site is installed in, '' for none.
   * @param string $token
   *   A token for reading public files; '': a word to replace.
   * @param string $private_token
   *   A token for reading private files; '': a word to replace.
   *
   * @throws \RuntimeException
   *   If there is nothing to print, with why.
   */
  public function render(string $base_path = '', string $token = '', string $private_token = ''): string {
    if ($this->store?->options->takesOver('public') !== TRUE) {
      throw new \RuntimeException("This site's public files are not in Cistern: its settings.php does not say so.");
    }
    $base = rtrim('/' . trim($base_path, '/'), '/');
    $client = $this->store->options->client;
    $values = [
      'CISTERN_TOKEN' => $token ?: 'CISTERN_TOKEN',
      'CISTERN_PRIVATE_TOKEN' => $private_token ?: 'CISTERN_PRIVATE_TOKEN',
      'CISTERN_CACHE' => '/var/cache/cistern-nginx',
      'CISTERN_MAX_AGE' => (string) $this->store->options->maxAge(),
      '/_cistern/' => $this->store->options->xAccel() ?: '/_cistern/',
      'FILES_PATH' => "$base/" . PublicStream::basePath(),
      'FRONT_CONTROLLER' => "$base/index.php",
      'CISTERN_DOMAIN' => rawurlencode($client->domain),
      'CISTERN_PREFIX' => implode('/', array_map('rawurlencode', explode('/', $this->store->fullKey('public://')))),
    ];
    $http = (string) preg_replace('/^( *server )CISTERN_TRACKER( .*)$/m', $this->servers($client->trackers), $this->template('cistern-http.conf'));
    $lines = explode("\n", $http . "\n" . $this->template('cistern-server.conf'));
    // Comments name the words that stand for values.
    return implode("\n", array_map(fn(string $line): string => str_starts_with(ltrim($line), '#') ? $line : strtr($line, $values), $lines));
  }

  /**
   * The lines that name the trackers, as the replacement of the template's one.
   *
   * @param list<string> $trackers
   *   Addresses.
   */
  private function servers(array $trackers): string {
    $lines = array_map(function (string $tracker): string {
      $address = preg_replace('~^http://~', '', $tracker);
      if (str_starts_with($address, 'https://')) {
        throw new \RuntimeException("nginx reaches the tracker $tracker by TLS: set up the package's web/nginx/cistern-pool.conf on this web head, and give its socket (unix:/run/cistern/trackers.sock) as tracker in settings.php.");
      }
      return '${1}' . (str_starts_with($address, 'unix:') || preg_match('/:\d+$/', $address) ? $address : "$address:80") . '${2}';
    }, $trackers);
    return implode("\n", $lines);
  }

  /**
   * A file of the package.
   */
  private function template(string $name): string {
    $path = dirname((string) (new \ReflectionClass(Client::class))->getFileName(), 2) . "/web/nginx/$name";
    $text = is_readable($path) ? file_get_contents($path) : FALSE;
    if ($text === FALSE) {
      throw new \RuntimeException("$path is missing: install the package cistern/cistern again.");
    }
    return $text;
  }

}
