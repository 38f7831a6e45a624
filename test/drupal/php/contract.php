<?php

/**
 * @file
 * What core and contributed modules rely on and no other test looks at. Prints what was found, as JSON.
 */

declare(strict_types=1);

use Drupal\Core\DrupalKernel;
use Drupal\Core\File\Exception\FileException;
use Drupal\Core\File\FileExists;
use Drupal\file\Entity\File;
use Symfony\Component\HttpFoundation\Request;

$autoloader = require 'autoload.php';
$request = Request::create('http://127.0.0.1/');
$kernel = DrupalKernel::createFromRequest($request, $autoloader, 'prod');
$kernel->boot();
$kernel->preHandle($request);
\Drupal::requestStack()->push($request);

$files = \Drupal::service('file_system');
$wrappers = \Drupal::service('stream_wrapper_manager');
$directory = 'public://contract';
$files->prepareDirectory($directory, 1);
$found = [];

$uri = $files->saveData('x', "$directory/x.txt", FileExists::Replace);
foreach (['public://', $directory, $uri, 'public://none', 'private://', 'private://none'] as $each) {
    $found['realpath'][$each] = $files->realpath($each);
}
foreach (['public', 'private', 'cistern', 'temporary', 'assets'] as $scheme) {
    $found['classes'][$scheme] = strstr($wrappers->getClass($scheme), '\\', true);
}
$found['directory of public://'] = $wrappers->getViaScheme('public')->getDirectoryPath();
$temporary = $files->tempnam('temporary://', 'x');
$found['tempnam'] = [is_file($files->realpath($temporary)), is_file($files->tempnam($directory, 'x'))];

// Names that file systems and URLs make hard, and the forms in which core writes a URI.
foreach (['a b#%+?&.txt', 'ä ö', '👋.txt', 'a:b.txt', "quote'\".txt"] as $name) {
    $saved = $files->saveData($name, "$directory/$name", FileExists::Replace);
    $found['names'][$name] = file_get_contents($saved);
}
foreach (['public:///contract/x.txt', 'public://contract//x.txt', 'public://contract/./x.txt', 'public://contract/y/../x.txt'] as $form) {
    $found['forms'][$form] = file_get_contents($form);
}
try {
    $found['forms']['public://../private/x.txt'] = $files->saveData('x', 'public://../private/x.txt');
} catch (Throwable $e) {
    $found['forms']['public://../private/x.txt'] = 'refused';
}
$found['out of the scheme'] = file_exists('public://contract/../../private/x.txt');

// What is put under the name of a directory goes into it; nothing goes into a directory that is missing.
$into = "$directory/into";
$files->prepareDirectory($into, 1);
$found['into a directory'] = $files->copy($uri, $into, FileExists::Replace);
foreach (['copy', 'move'] as $operation) {
    try {
        $files->$operation($uri, 'public://missing/x.txt');
        $found['into a missing directory'][$operation] = 'done';
    } catch (FileException $e) {
        $found['into a missing directory'][$operation] = basename(strtr($e::class, '\\', '/'));
    }
}
$found['a missing directory was made'] = is_dir('public://missing');

\Drupal::service('file.htaccess_writer')->ensure();
$found['.htaccess'] = file_exists('public://.htaccess') && (fileperms('public://.htaccess') & 0777) === 0444;

// Cron deletes what was never used.
$old = File::create(['uri' => $files->saveData('x', "$directory/old.txt", FileExists::Replace), 'status' => 0]);
$old->save();
\Drupal::database()->update('file_managed')->fields(['changed' => 1])->condition('fid', $old->id())->execute();
\Drupal::moduleHandler()->invoke('file', 'cron');
$found['after cron'] = [File::load($old->id()), file_exists($old->getFileUri())];

$generator = \Drupal::service('file_url_generator');
$found['URL'] = $generator->generateString("$directory/a b#ä.txt");
$found['private URL'] = $generator->generateString('private://a b/c.txt');

$typed = \Drupal::service('config.typed');
$config = \Drupal::config('cistern.settings')->getRawData();
$found['configuration'] = [$typed->hasConfigSchema('cistern.settings'), count($typed->createFromNameAndData('cistern.settings', $config)->validate())];
include_once 'core/includes/install.inc';
$requirements = array_filter(
    \Drupal::service('system.manager')->listRequirements(),
    static fn (array $each): bool => ($each['severity'] ?? 0) === 2 && preg_match('/cistern|file system|private|twig|php storage/i', (string) $each['title']) === 1,
);
$found['requirements'] = array_map(static fn (array $each): string => (string) $each['title'], array_values($requirements));

$files->deleteRecursive($directory);
echo json_encode($found, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
