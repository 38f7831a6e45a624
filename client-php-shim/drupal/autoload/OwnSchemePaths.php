<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Drupal\Core\PathProcessor\InboundPathProcessorInterface;
use Drupal\Core\Routing\RouteBuildEvent;
use Drupal\Core\Routing\RoutingEvents;
use Symfony\Component\EventDispatcher\EventSubscriberInterface;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\Routing\Route;

/**
 * Makes image derivatives of cistern:// at their addresses.
 *
 * Core's image module does the same for public://.
 */
final class OwnSchemePaths implements EventSubscriberInterface, InboundPathProcessorInterface {

  private const STYLES = '/' . FileMiddleware::OWN_PATH . '/styles/';

  /**
   * {@inheritdoc}
   */
  public static function getSubscribedEvents(): array {
    return [RoutingEvents::DYNAMIC => 'onRouteBuild'];
  }

  /**
   * Adds the route, if there are image styles.
   */
  public function onRouteBuild(RouteBuildEvent $event): void {
    if (\Drupal::moduleHandler()->moduleExists('image')) {
      $defaults = [
        '_controller' => 'Drupal\image\Controller\ImageStyleDownloadController::deliver',
        'required_derivative_scheme' => 'cistern',
      ];
      $route = new Route(self::STYLES . '{image_style}/{scheme}', $defaults, ['_access' => 'TRUE'], [
        'parameters' => ['image_style' => ['type' => 'entity:image_style']],
      ]);
      $event->getRouteCollection()->add('cistern.image_style', $route);
    }
  }

  /**
   * {@inheritdoc}
   */
  public function processInbound($path, Request $request) {
    if (!str_starts_with($path, self::STYLES)) {
      return $path;
    }
    $parts = explode('/', substr($path, strlen(self::STYLES)), 3);
    if (count($parts) < 3) {
      return $path;
    }
    // Routes take no parameter with slashes; the image module's controller
    // reads the file from the query.
    $request->query->set('file', $parts[2]);
    return self::STYLES . $parts[0] . '/' . $parts[1];
  }

}
