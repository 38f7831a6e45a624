<?php

/**
 * @file
 * Makes the installed standard profile into the site that the scenarios use: media with its library, fields for
 * private and for huge files, and two editors who may do with content and files what editors do.
 */

declare(strict_types=1);

use Drupal\Core\DrupalKernel;
use Drupal\Core\Recipe\Recipe;
use Drupal\Core\Recipe\RecipeRunner;
use Drupal\field\Entity\FieldConfig;
use Drupal\field\Entity\FieldStorageConfig;
use Drupal\user\Entity\Role;
use Drupal\user\Entity\User;
use Symfony\Component\HttpFoundation\Request;

$autoloader = require 'autoload.php';
$kernel = DrupalKernel::createFromRequest(Request::create('/'), $autoloader, 'prod');
$kernel->boot();
$kernel->preHandle(Request::create('/'));
\Drupal::service('module_installer')->install(['media', 'media_library']);
// Since Drupal 11.4 the standard profile has no types of content; core's recipes make them.
$recipes = [
    'article_content_type' => 'node.type.article',
    'page_content_type' => 'node.type.page',
    'image_media_type' => 'media.type.image',
];
foreach ($recipes as $recipe => $name) {
    if (\Drupal::config($name)->isNew()) {
        RecipeRunner::processRecipe(Recipe::createFromDirectory(\Drupal::root() . "/core/recipes/$recipe"));
    }
}

$field = function (string $name, string $label, string $type, array $storage, array $settings): void {
    $definition = ['field_name' => $name, 'entity_type' => 'node', 'type' => $type, 'settings' => $storage];
    FieldStorageConfig::create($definition + ['cardinality' => -1])->save();
    $instance = ['field_name' => $name, 'entity_type' => 'node', 'bundle' => 'article', 'label' => $label];
    FieldConfig::create($instance + ['settings' => $settings])->save();
};
$field('field_secret', 'Secret', 'file', ['uri_scheme' => 'private'], ['file_extensions' => 'txt pdf']);
$huge = ['file_extensions' => 'bin', 'max_filesize' => '700 MB', 'file_directory' => 'huge'];
$field('field_huge', 'Huge', 'file', ['uri_scheme' => 'public'], $huge);
$bundles = ['handler' => 'default:media', 'handler_settings' => ['target_bundles' => ['image' => 'image']]];
$field('field_media', 'Media', 'entity_reference', ['target_type' => 'media'], $bundles);

$displays = \Drupal::service('entity_display.repository');
$form = $displays->getFormDisplay('node', 'article');
$view = $displays->getViewDisplay('node', 'article');
foreach (['field_secret' => 'file_generic', 'field_huge' => 'file_generic', 'field_media' => 'media_library_widget'] as $name => $widget) {
    $form->setComponent($name, ['type' => $widget]);
}
foreach (['field_secret' => 'file_default', 'field_huge' => 'file_default', 'field_media' => 'entity_reference_entity_view'] as $name => $formatter) {
    $view->setComponent($name, ['type' => $formatter]);
}
$form->save();
$view->save();

$editor = Role::create(['id' => 'editor', 'label' => 'Editor']);
foreach (
    [
        'access administration pages', 'access content overview', 'access files overview', 'access media overview',
        'administer nodes', 'create article content', 'edit own article content', 'delete own article content',
        'create image media', 'delete any file', 'use text format basic_html', 'view own unpublished content',
        'view media', 'view the administration theme',
    ] as $permission
) {
    $editor->grantPermission($permission);
}
$editor->save();
foreach (['editor', 'other'] as $name) {
    $user = ['name' => $name, 'mail' => "$name@example.com", 'pass' => $name, 'status' => 1];
    User::create($user + ['roles' => ['editor']])->save();
}
\Drupal::configFactory()->getEditable('system.performance')
    ->set('css.preprocess', true)->set('js.preprocess', true)->set('cache.page.max_age', 300)->save();
drupal_flush_all_caches();
