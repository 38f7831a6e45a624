<?php

/**
 * @file
 * Runs Drupal's cron once, as `drush cron` does.
 */

declare(strict_types=1);

use Drupal\Core\DrupalKernel;
use Symfony\Component\HttpFoundation\Request;

chdir('/srv/drupal/code/web');
$autoloader = require 'autoload.php';
$request = Request::create('http://localhost/');
$kernel = DrupalKernel::createFromRequest($request, $autoloader, 'prod');
$kernel->boot();
$kernel->preHandle($request);
\Drupal::requestStack()->push($request);
exit(\Drupal::service('cron')->run() ? 0 : 1);
