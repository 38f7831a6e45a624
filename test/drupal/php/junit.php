<?php

/**
 * @file
 * Prints PHPUnit's JUnit log (the first argument) as JSON: {"Class::test with data set": "passed", ...}.
 */

declare(strict_types=1);

$results = [];
foreach (simplexml_load_file($argv[1])->xpath('//testcase') as $case) {
    $state = isset($case->failure) || isset($case->error) ? 'failed' : (isset($case->skipped) ? 'skipped' : 'passed');
    $results["{$case['class']}::{$case['name']}"] = $state;
}
echo json_encode($results, JSON_THROW_ON_ERROR);
