<?php

/**
 * @file
 * Counts the requests to trackers that Drupal's operations on files make, each as in a web request of its own. Prints
 * them as JSON, by operation.
 */

declare(strict_types=1);

use Drupal\Core\Cache\Cache;
use Drupal\Core\DrupalKernel;
use Drupal\Core\File\FileExists;
use Drupal\Core\File\FileSystemInterface;
use Drupal\field\Entity\FieldConfig;
use Drupal\field\Entity\FieldStorageConfig;
use Drupal\image\Entity\ImageStyle;
use Drupal\node\Entity\Node;
use Symfony\Component\HttpFoundation\Request;

$autoloader = require 'autoload.php';
$request = Request::create('http://127.0.0.1/');
$kernel = DrupalKernel::createFromRequest($request, $autoloader, 'prod');
$kernel->boot();
$kernel->preHandle($request);
\Drupal::requestStack()->push($request);

$counts = [];
$count = function (string $what, callable $operation) use (&$counts): mixed {
    $client = \Drupal::service('cistern.store')->client;
    $client->beginRequest();
    $before = $client->calls();
    $result = $operation();
    $counts[$what] = $client->calls() - $before;

    return $result;
};
$get = function (string $what, string $path) use ($count, $kernel): void {
    $answer = $count($what, function () use ($kernel, $path) {
        $answer = $kernel->handle(Request::create("http://127.0.0.1$path"));
        ob_start();
        $answer->sendContent();
        ob_end_clean();

        return $answer;
    });
    $status = $answer->getStatusCode();
    $status === 200 || throw new RuntimeException("$path answered $status");
};

$files = \Drupal::service('file_system');
$repository = \Drupal::service('file.repository');
$image = file_get_contents('core/misc/druplicon.png');
$directory = 'public://round-trips';
$unique = fn(): string => $directory . '/' . uniqid() . '.txt';

$count('prepareDirectory', fn() => $files->prepareDirectory($directory, FileSystemInterface::CREATE_DIRECTORY));
$taken = $count('saveData', fn() => $files->saveData('x', $unique()));
$second = $count('saveData, name taken', fn() => $files->saveData('x', $taken));
$count('saveData, two names taken', fn() => $files->saveData('x', $taken));
$count('copy', fn() => $files->copy($taken, $unique()));
$second = $count('move', fn() => $files->move($second, $unique()));
// Each is a web request of its own, so nothing is known of this directory.
$elsewhere = "$directory/elsewhere";
$files->prepareDirectory($elsewhere, FileSystemInterface::CREATE_DIRECTORY);
$count('copy, to another directory', fn() => $files->copy($taken, "$elsewhere/copied.txt"));
$count('move, to another directory', fn() => $files->move($second, "$elsewhere/moved.txt"));
for ($i = 0; $i < 24; $i++) {
    $files->saveData('x', "$directory/scan.txt");
}
$count('scanDirectory', fn() => $files->scanDirectory($directory, '/\.txt$/'));
$file = $count('file.repository writeData', fn() => $repository->writeData($image, "$directory/logo.png"));
$count('file entity, saved unchanged', fn() => $file->save());
$count('file entity, its URL', fn() => $file->createFileUrl());
$count('image style, a URL', fn() => ImageStyle::load('medium')->buildUrl($file->getFileUri()));

// What is done once, such as finding plugins, is not of interest.
ImageStyle::load('thumbnail')->createDerivative($file->getFileUri(), 'public://styles/thumbnail/public/warm.webp');
$url = parse_url(ImageStyle::load('medium')->buildUrl($file->getFileUri()));
$get('first derivative', "$url[path]?$url[query]");
$get('derivative', "$url[path]?$url[query]");
$get('original', $file->createFileUrl());
foreach (['first time', 'second time'] as $time) {
    $derivatives = [];
    foreach (['public', 'private', 'cistern'] as $scheme) {
        $derivatives[] = $files->saveData('x', "$scheme://styles/medium/x/x.png");
    }
    $count("image style, flushed, $time", fn() => ImageStyle::load('medium')->flush());
    array_filter($derivatives, file_exists(...)) === [] || throw new RuntimeException('A flush left derivatives.');
}

$inline = '';
for ($i = 0; $i < 50; $i++) {
    $one = $repository->writeData($image . $i, "$directory/inline.png");
    $inline .= "<img alt='' data-entity-type='file' data-entity-uuid='{$one->uuid()}' src='{$one->createFileUrl()}'>";
}
$body = ['value' => $inline, 'format' => 'full_html'];
$node = Node::create(['type' => 'page', 'title' => 'Inline', 'status' => 1, 'body' => $body]);
$node->save();
$get('page with 50 inline images', "/node/{$node->id()}");
Cache::invalidateTags(['rendered']);
$get('page with 50 inline images, rendered again', "/node/{$node->id()}");

$storage = ['field_name' => 'field_many', 'entity_type' => 'node', 'type' => 'image', 'cardinality' => -1];
FieldStorageConfig::create($storage)->save();
FieldConfig::create(['field_name' => 'field_many', 'entity_type' => 'node', 'bundle' => 'page'])->save();
\Drupal::service('entity_display.repository')->getViewDisplay('node', 'page')
    ->setComponent('field_many', ['type' => 'image', 'settings' => ['image_style' => 'medium']])->save();
$values = [];
for ($i = 0; $i < 200; $i++) {
    $one = $repository->writeData($image, "$directory/field-$i.png");
    $values[] = ['target_id' => $one->id(), 'alt' => 'x', 'width' => 88, 'height' => 100];
}
$many = Node::create(['type' => 'page', 'title' => 'Many', 'status' => 1, 'field_many' => $values]);
$many->save();
$get('page with 200 image fields', "/node/{$many->id()}");

$count('deleteRecursive', fn() => $files->deleteRecursive($directory));
FieldStorageConfig::loadByName('node', 'field_many')->delete();
\Drupal::entityTypeManager()->getStorage('node')->delete([$node, $many]);

echo json_encode($counts, JSON_THROW_ON_ERROR);
