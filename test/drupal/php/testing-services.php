<?php

/**
 * @file
 * Prints the services file that puts public:// of Drupal's own tests into Cistern (sites/default/testing.services.yml).
 *
 * Tests have no settings.php: the connection comes from the environment, and each test site's directory is its prefix.
 */

declare(strict_types=1);

use Cistern\Drupal\Options;
use Symfony\Component\Yaml\Yaml;

require 'autoload.php';

$directory = dirname((new ReflectionClass(Options::class))->getFileName()) . '/services';
$services = array_replace_recursive(...array_map(Yaml::parseFile(...), ["$directory/services.yml", "$directory/public.yml"]));
$services['services']['cistern.options']['factory'][1] = 'fromEnvironment';
$services['services']['cistern.options']['arguments'] = ['%site.path%'];
echo Yaml::dump($services, 6);
