<?php

/**
 * @file
 * Tries during an outage what must not seem to work. Arguments: the URI and the id of a file. Prints as JSON the
 * exceptions' classes, or what was returned, by operation.
 */

declare(strict_types=1);

use Drupal\Core\DrupalKernel;
use Drupal\file\Entity\File;
use Symfony\Component\HttpFoundation\Request;

$autoloader = require 'autoload.php';
$request = Request::create('http://127.0.0.1/');
$kernel = DrupalKernel::createFromRequest($request, $autoloader, 'prod');
$kernel->boot();
$kernel->preHandle($request);
\Drupal::requestStack()->push($request);

[, $uri, $id] = $argv;
$results = [];
$try = function (string $what, callable $operation) use (&$results): void {
    try {
        $results[$what] = var_export($operation(), true);
    } catch (Throwable $e) {
        $results[$what] = 'throws ' . get_class($e);
    }
};
$files = \Drupal::service('file_system');
$try('saveData', fn() => $files->saveData('x', 'public://outage.txt'));
$try('copy', fn() => $files->copy($uri, 'public://outage.png'));
$try('move', fn() => $files->move($uri, 'public://outage.png'));
$try('copy from the store', fn() => $files->copy($uri, 'temporary://outage.png'));
$try('delete', fn() => $files->delete($uri));
$try('deleteRecursive', fn() => $files->deleteRecursive('public://styles'));
$try('file_exists', fn() => file_exists($uri));
$try('file_put_contents', fn() => file_put_contents('public://outage.txt', 'x'));
$try('unlink', fn() => unlink($uri));
$try('file entity, delete', fn() => File::load($id)->delete());
$results['file entity'] = \Drupal::entityTypeManager()->getStorage('file')->loadUnchanged($id) ? 'kept' : 'gone';
$try('cron', fn() => \Drupal::service('cron')->run());
$try('cache rebuild', fn() => drupal_flush_all_caches());
echo json_encode($results, JSON_THROW_ON_ERROR);
