<?php

/**
 * @file
 * Installs the site if the database is empty. Of several heads that start at once, one does; the others wait for it.
 */

declare(strict_types=1);

$secret = fn (string $name): string => trim((string) file_get_contents("/run/secrets/$name"));
$source = 'pgsql:host=' . getenv('DRUPAL_DATABASE_HOST') . ';dbname=drupal';
$database = new PDO($source, 'drupal', $secret('drupal_database_password'));
// Held until this process ends, however it ends.
$database->query('SELECT pg_advisory_lock(4711)');
$ask = fn (string $query): int => (int) $database->query($query)->fetchColumn();
if ($ask("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") > 0) {
    // What Drupal's own installer looks for.
    $done = "SELECT count(*) FROM key_value WHERE collection = 'state' AND name = 'install_task' AND value = convert_to('s:4:\"done\";', 'UTF8')";
    if ($ask("SELECT count(to_regclass('public.key_value'))") === 0 || $ask($done) === 0) {
        // It may as well be a restore that is under way, so nothing is removed here.
        fwrite(STDERR, "The database 'drupal' is neither empty nor that of an installed site. If an installation was interrupted, drop the database and start again: docs/containers.md.\n");
        exit(1);
    }
    exit;
}

echo "installing the site\n";
chdir('/srv/drupal/code/web');
require_once 'core/includes/install.core.inc';
$password = $secret('drupal_admin_password');
$account = ['name' => 'admin', 'mail' => 'admin@example.com', 'pass' => ['pass1' => $password, 'pass2' => $password]];
$form = ['site_name' => 'Drupal on Cistern', 'site_mail' => 'admin@example.com', 'account' => $account];
install_drupal(require 'autoload.php', [
    'interactive' => false,
    'site_path' => 'sites/default',
    'parameters' => ['profile' => getenv('DRUPAL_PROFILE') ?: 'standard', 'langcode' => 'en'],
    'forms' => ['install_configure_form' => $form + ['enable_update_status_module' => null, 'enable_update_status_emails' => null]],
]);
\Drupal::service('module_installer')->install(['cistern']);
echo "the site is installed\n";
