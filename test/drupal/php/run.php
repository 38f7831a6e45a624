<?php

/**
 * @file
 * Runs PHP code (the first argument) on the booted site, as Drush's `php:eval` does. The second argument is the sub-directory
 * that the site is served from, '' for none.
 */

declare(strict_types=1);

use Drupal\Core\DrupalKernel;
use Symfony\Component\HttpFoundation\Request;

$autoloader = require 'autoload.php';
$script = ['SCRIPT_NAME' => "$argv[2]/index.php", 'SCRIPT_FILENAME' => 'index.php'];
$request = Request::create("http://127.0.0.1$argv[2]/", server: $script);
$kernel = DrupalKernel::createFromRequest($request, $autoloader, 'prod');
$kernel->boot();
$kernel->preHandle($request);
\Drupal::requestStack()->push($request);
eval($argv[1]);
