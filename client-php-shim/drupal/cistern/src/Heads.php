<?php

declare(strict_types=1);

namespace Drupal\cistern;

use Cistern\Drupal\Store;
use Drupal\Component\Datetime\TimeInterface;
use Drupal\Core\Config\ConfigFactoryInterface;
use Drupal\Core\Extension\ModuleExtensionList;
use Drupal\Core\KeyValueStore\KeyValueFactoryInterface;
use Drupal\Core\Site\Settings;
use Drupal\Core\StreamWrapper\StreamWrapperManagerInterface;
use Symfony\Component\EventDispatcher\EventSubscriberInterface;
use Symfony\Component\HttpKernel\KernelEvents;

/**
 * What each web head of the site uses, told by itself.
 *
 * A head that writes to its own disk is found before its files are missed.
 *
 * A head tells it every few minutes, after an answer was sent, and whenever its
 * status is asked for.
 */
class Heads implements EventSubscriberInterface {

  /**
   * Seconds between two signs of life.
   */
  private const INTERVAL = 300;

  /**
   * What must be the same on all heads.
   */
  private const SAME = ['version', 'public', 'private', 'domain', 'prefix', 'salt', 'fallback'];

  public function __construct(
    protected KeyValueFactoryInterface $keyValue,
    protected StreamWrapperManagerInterface $streamWrappers,
    protected ModuleExtensionList $modules,
    protected ConfigFactoryInterface $configFactory,
    protected TimeInterface $time,
    protected Settings $settings,
    protected ?Store $store,
    protected string $root,
  ) {}

  /**
   * {@inheritdoc}
   */
  public static function getSubscribedEvents(): array {
    return [KernelEvents::TERMINATE => 'onTerminate'];
  }

  /**
   * Tells of this head, if it has not done so for some minutes or has written.
   */
  public function onTerminate(): void {
    $marker = sys_get_temp_dir() . '/cistern-head-' . substr(hash('sha256', $this->root . $this->settings->get('hash_salt')), 0, 16);
    $told = @filemtime($marker);
    if ($told === FALSE || $told < time() - self::INTERVAL || $this->store?->lastWrite() !== NULL) {
      @touch($marker);
      $this->tell();
    }
  }

  /**
   * Stores this head's fingerprint.
   */
  public function tell(): void {
    $this->keyValue->get('cistern.heads')->set($this->id(), $this->fingerprint());
  }

  /**
   * This head's name in the list: several may run on one machine.
   */
  public function id(): string {
    return gethostname() . ':' . $this->root();
  }

  /**
   * What this head uses.
   *
   * @return array<string, mixed>
   *   Some of it must be the same everywhere; see SAME. `seen` and `wrote` are
   *   times.
   */
  public function fingerprint(): array {
    $client = $this->store?->options->client;
    $previous = $this->keyValue->get('cistern.heads')->get($this->id(), []);
    return [
      'host' => (string) gethostname(),
      'root' => $this->root(),
      'version' => $this->version(),
      'public' => $this->provider('public'),
      'private' => $this->provider('private'),
      'fallback' => (string) json_encode($this->store?->options->oldDirectories() ?? []),
      'domain' => $client->domain ?? '',
      'prefix' => $client->prefix ?? '',
      'salt' => substr(hash('sha256', 'cistern' . $this->settings->get('hash_salt')), 0, 12),
      'seen' => $this->time->getCurrentTime(),
      'wrote' => $this->store?->lastWrite() ?? $previous['wrote'] ?? NULL,
    ];
  }

  /**
   * Who provides a scheme here.
   *
   * A head with a switch changes that at its next request, by itself.
   */
  private function provider(string $scheme): string {
    $class = (string) $this->streamWrappers->getClass($scheme);
    return $this->store?->options->isSwitched() === TRUE && str_starts_with($class, 'Cistern\\Drupal\\') ? 'switched' : $class;
  }

  /**
   * All heads that gave a sign of life lately, this one first.
   *
   * @return array<string, array<string, mixed>>
   *   Fingerprints by id.
   */
  public function all(): array {
    $this->tell();
    $hours = (int) ($this->configFactory->get('cistern.settings')->get('forget_heads_after') ?: 24);
    $oldest = $this->time->getCurrentTime() - $hours * 3600;
    $collection = $this->keyValue->get('cistern.heads');
    $heads = [];
    foreach ($collection->getAll() as $id => $head) {
      if ($head['seen'] < $oldest) {
        $collection->delete($id);
      }
      else {
        $heads[$id] = $head;
      }
    }
    ksort($heads);
    return [$this->id() => $heads[$this->id()]] + $heads;
  }

  /**
   * Where other heads differ from this one.
   *
   * @param array<string, array<string, mixed>> $heads
   *   As all() returns them.
   *
   * @return list<array{head: string, what: string, here: string, there: string}>
   *   Empty if all is well.
   */
  public function differences(array $heads): array {
    $own = $heads[$this->id()];
    $differences = [];
    foreach ($heads as $id => $head) {
      foreach (self::SAME as $what) {
        if (($head[$what] ?? '') !== $own[$what]) {
          $differences[] = [
            'head' => (string) $id,
            'what' => $what,
            'here' => (string) $own[$what],
            'there' => (string) ($head[$what] ?? ''),
          ];
        }
      }
    }
    return $differences;
  }

  /**
   * Where Drupal is on this head.
   *
   * The container may have been compiled on another one.
   */
  protected function root(): string {
    return defined('DRUPAL_ROOT') ? DRUPAL_ROOT : $this->root;
  }

  /**
   * A digest of the code that handles files.
   *
   * A version number would have to be kept by hand.
   */
  protected function version(): string {
    $version = (string) ($this->modules->getExtensionInfo('cistern')['version'] ?? 'dev');
    $file = (new \ReflectionClass(Store::class))->getFileName();
    $sources = glob(dirname((string) $file) . '/*.php') ?: [];
    return $version . '-' . substr(hash('sha256', implode('', array_map('md5_file', $sources))), 0, 8);
  }

}
