<?php

/**
 * @file
 * What code of the site does with its files in web requests: copied into the document root, one operation by POST.
 * Answers with JSON; an outage, or a side that is being left, is 503, as it is of Drupal's own pages.
 */

declare(strict_types=1);

use Cistern\Exception\Unavailable;
use Drupal\Core\DrupalKernel;
use Drupal\Core\File\FileExists;
use Drupal\image\Entity\ImageStyle;
use Symfony\Component\HttpFoundation\Request;

$autoloader = require 'autoload.php';
$request = Request::createFromGlobals();
$kernel = DrupalKernel::createFromRequest($request, $autoloader, 'prod');
$kernel->boot();
$kernel->preHandle($request);
\Drupal::requestStack()->push($request);

$uri = (string) $request->request->get('uri');
$data = (string) $request->request->get('data');
$to = (string) $request->request->get('to');
$repository = \Drupal::service('file.repository');
$directory = dirname($uri);
\Drupal::service('cistern.store')->beginRequest();
try {
    if (in_array($request->request->get('op'), ['put', 'image'], true)) {
        \Drupal::service('file_system')->prepareDirectory($directory, 1);
    }
    $result = match ($request->request->get('op')) {
        'put' => $repository->writeData($data, $uri, FileExists::Replace)->getFileUri(),
        'unique' => $repository->writeData($data, $uri, FileExists::Rename)->getFileUri(),
        'delete' => $repository->loadByUri($uri)?->delete() ?? true,
        'rename' => $repository->move($repository->loadByUri($uri), $to, FileExists::Error)->getFileUri(),
        'append' => file_put_contents($uri, $data, FILE_APPEND),
        'unlink' => unlink($uri),
        'read' => is_file($uri) ? file_get_contents($uri) : null,
        'names' => array_values(array_map(fn($file) => $file->uri, \Drupal::service('file_system')->scanDirectory($uri, '/.*/'))),
        'readdir' => array_values(array_diff(scandir($uri), ['.', '..'])),
        'image' => $repository->writeData((string) file_get_contents('core/misc/druplicon.png') . $data, $uri, FileExists::Replace)->getFileUri(),
        'style' => \Drupal::service('file_url_generator')->generateString(ImageStyle::load('medium')->buildUri($uri))
            . '?itok=' . ImageStyle::load('medium')->getPathToken($uri),
        'side' => get_class(\Drupal::service('stream_wrapper_manager')->getViaScheme('public')),
    };
} catch (Throwable $e) {
    $unavailable = false;
    for ($cause = $e; $cause !== null; $cause = $cause->getPrevious()) {
        $unavailable = $unavailable || $cause instanceof Unavailable;
    }
    http_response_code($unavailable ? 503 : 500);
    $result = get_class($e) . ': ' . $e->getMessage();
}
header('Content-Type: application/json');
echo json_encode($result, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE);
