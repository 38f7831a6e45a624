<?php

/**
 * @file
 * Makes what the outage tests look at, new for each: a page with an inline image that nobody has seen yet, an image
 * without derivatives, and a private file of the administrator's. Prints their paths as JSON.
 */

declare(strict_types=1);

use Drupal\Core\DrupalKernel;
use Drupal\image\Entity\ImageStyle;
use Drupal\node\Entity\Node;
use Symfony\Component\HttpFoundation\Request;

$autoloader = require 'autoload.php';
$request = Request::create('http://127.0.0.1/');
$kernel = DrupalKernel::createFromRequest($request, $autoloader, 'prod');
$kernel->boot();
$kernel->preHandle($request);
\Drupal::requestStack()->push($request);

$name = 'outage-' . bin2hex(random_bytes(4));
$repository = \Drupal::service('file.repository');
$file = $repository->writeData(file_get_contents('core/misc/druplicon.png') . $name, "public://$name.png");
$secret = $repository->writeData('secret', "private://$name.pdf");
$secret->setOwnerId(1);
$secret->setTemporary();
$secret->save();
$url = $file->createFileUrl();
$body = "<img alt='' data-entity-type='file' data-entity-uuid='{$file->uuid()}' src='$url'>";
$node = Node::create([
    'type' => 'page', 'title' => $name, 'status' => 1, 'body' => ['value' => $body, 'format' => 'full_html'],
]);
$node->save();
$derivative = parse_url(ImageStyle::load('medium')->buildUrl($file->getFileUri()));
echo json_encode([
    'page' => "/node/{$node->id()}",
    'original' => $url,
    'derivative' => "$derivative[path]?$derivative[query]",
    'private' => $secret->createFileUrl(),
    'uri' => $file->getFileUri(),
    'fid' => $file->id(),
], JSON_THROW_ON_ERROR);
