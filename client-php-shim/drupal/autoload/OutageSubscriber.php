<?php

declare(strict_types=1);

namespace Cistern\Drupal;

use Cistern\Exception\Unavailable;
use Symfony\Component\EventDispatcher\EventSubscriberInterface;
use Symfony\Component\HttpKernel\Event\ExceptionEvent;
use Symfony\Component\HttpKernel\Exception\ServiceUnavailableHttpException;
use Symfony\Component\HttpKernel\KernelEvents;

/**
 * Answers 503 with Retry-After, not 500, where an outage ended a request.
 */
final class OutageSubscriber implements EventSubscriberInterface {

  public function __construct(private readonly Store $store) {}

  /**
   * {@inheritdoc}
   */
  public static function getSubscribedEvents(): array {
    // Before core's subscribers make an answer of it.
    return [KernelEvents::EXCEPTION => ['onException', 300]];
  }

  /**
   * Looks for an outage in the chain of exceptions.
   */
  public function onException(ExceptionEvent $event): void {
    $thrown = $event->getThrowable();
    for ($cause = $thrown; $cause !== NULL; $cause = $cause->getPrevious()) {
      if ($cause instanceof Unavailable) {
        $this->store->noticeOutage($cause);
        $event->setThrowable(new ServiceUnavailableHttpException(5, 'The file store cannot be reached at the moment. Try again in a few seconds.', $thrown));
        return;
      }
    }
  }

}
