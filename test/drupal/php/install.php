<?php

/**
 * @file
 * Installs Drupal as `core/install.php` does, from the command line and on the database that settings.php names.
 *
 * Arguments: the profile. Run in the document root.
 */

declare(strict_types=1);

require_once 'core/includes/install.core.inc';

$account = ['name' => 'admin', 'mail' => 'admin@example.com', 'pass' => ['pass1' => 'admin', 'pass2' => 'admin']];
$site = ['site_name' => 'Cistern', 'site_mail' => 'site@example.com', 'account' => $account];
$site += ['enable_update_status_module' => null, 'enable_update_status_emails' => null];
install_drupal(require 'autoload.php', [
    'interactive' => false,
    'site_path' => 'sites/default',
    'parameters' => ['profile' => $argv[1], 'langcode' => 'en'],
    'forms' => ['install_configure_form' => $site],
]);
