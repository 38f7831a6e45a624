<?php

/**
 * @file
 * What settings.php of a head has at its end: database, secrets, and the line that puts the files into Cistern.
 *
 * A setting that the code base's own settings.php has made stays, as far as it may differ.
 */

$secret = fn (string $file): string => trim((string) file_get_contents($file));
// A code base without the package has it in vendor/ all the same, but its autoloader does not know.
// It is not asked for the class: it would remember that there is none.
if (!isset($class_loader->getPrefixesPsr4()['Cistern\\Drupal\\'])) {
  $class_loader->addPsr4('Cistern\\Drupal\\', dirname($app_root) . '/vendor/cistern/cistern/drupal/autoload');
  $class_loader->addPsr4('Cistern\\', dirname($app_root) . '/vendor/cistern/cistern/src');
}

$databases['default']['default'] = [
  'driver' => 'pgsql',
  'namespace' => 'Drupal\\pgsql\\Driver\\Database\\pgsql',
  'autoload' => 'core/modules/pgsql/src/Driver/Database/pgsql/',
  'host' => getenv('DRUPAL_DATABASE_HOST'),
  'port' => '5432',
  'database' => 'drupal',
  'username' => 'drupal',
  'password' => $secret('/run/secrets/drupal_database_password'),
];
$settings['hash_salt'] = $secret('/run/secrets/drupal_salt');
$settings['file_temp_path'] = '/var/lib/drupal/tmp';
if (empty($settings['config_sync_directory'])) {
  $beside = dirname($app_root) . '/config/sync';
  $settings['config_sync_directory'] = is_dir($beside) ? $beside : '/var/lib/drupal/sync';
}
// localhost is what the health checks ask for.
foreach (['localhost', '127.0.0.1', ...array_filter(explode(',', (string) getenv('DRUPAL_HOSTS')))] as $host) {
  $settings['trusted_host_patterns'][] = '^' . preg_quote(trim($host)) . '$';
}
// Code is replaced by a new image. Cron is the service drupal-cron, not something that visitors start on any head.
$settings['allow_authorize_operations'] = FALSE;
$settings['skip_permissions_hardening'] = TRUE;
$config['automated_cron.settings']['interval'] = 0;

$settings['php_storage']['twig']['directory'] ??= '/var/lib/drupal/twig';
\Cistern\Drupal\TakeOver::apply($settings, $app_root, $site_path, trackers: explode(',', (string) getenv('CISTERN_TRACKER_URLS')), domain: getenv('CISTERN_DOMAIN'), token: $secret('/run/cistern/token'), local_directory: '/var/lib/drupal/cistern');
