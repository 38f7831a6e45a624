<?php

declare(strict_types=1);

namespace Drupal\cistern\Drush\Commands;

use Consolidation\AnnotatedCommand\CommandResult;
use Consolidation\OutputFormatters\StructuredData\RowsOfFields;
use Drupal\cistern\Check;
use Drupal\cistern\Checks;
use Drupal\cistern\Heads;
use Drupal\cistern\NginxSnippet;
use Drush\Attributes as CLI;
use Drush\Commands\AutowireTrait;
use Drush\Commands\DrushCommands;

/**
 * Drush commands for operators (Drush 12.5 and newer).
 */
final class CisternCommands extends DrushCommands {

  use AutowireTrait;

  public function __construct(
    private readonly Checks $checks,
    private readonly Heads $heads,
    private readonly NginxSnippet $nginx,
  ) {
    parent::__construct();
  }

  /**
   * Looks whether the file store works, from this web head.
   */
  #[CLI\Command(name: 'cistern:status')]
  #[CLI\Option(name: 'probe', description: 'Write, read and delete a small file.')]
  #[CLI\FieldLabels(labels: ['state' => 'State', 'check' => 'Check', 'found' => 'Found'])]
  #[CLI\DefaultTableFields(fields: ['state', 'check', 'found'])]
  #[CLI\Usage(name: 'drush cistern:status', description: 'Exits with 1 if something is wrong.')]
  public function status(array $options = ['format' => 'table', 'probe' => TRUE]): CommandResult {
    $checks = $this->checks->run((bool) $options['probe']);
    $rows = array_map(fn(Check $check): array => [
      'state' => $check->state,
      'check' => (string) $check->title,
      'found' => html_entity_decode(strip_tags((string) $check->found), ENT_QUOTES),
    ], $checks);
    return $this->result($rows, array_filter($checks, fn(Check $check): bool => $check->state === Check::ERROR) !== []);
  }

  /**
   * Shows what each web head uses; those that differ from this one fail.
   */
  #[CLI\Command(name: 'cistern:heads')]
  #[CLI\FieldLabels(labels: [
    'id' => 'Head',
    'version' => 'Version',
    'public' => 'public://',
    'private' => 'private://',
    'domain' => 'Domain',
    'prefix' => 'Prefix',
    'salt' => 'Salt',
    'seen' => 'Seen',
    'wrote' => 'Wrote',
  ])]
  #[CLI\Usage(name: 'drush cistern:heads', description: 'Exits with 1 if heads differ.')]
  public function heads(array $options = ['format' => 'table']): CommandResult {
    $heads = $this->heads->all();
    $rows = [];
    foreach ($heads as $id => $head) {
      $rows[] = [
        'id' => $id,
        'seen' => gmdate('c', $head['seen']),
        'wrote' => $head['wrote'] === NULL ? '' : gmdate('c', $head['wrote']),
      ] + $head;
    }
    return $this->result($rows, $this->heads->differences($heads) !== []);
  }

  /**
   * Prints a configuration for nginx that serves files without PHP.
   */
  #[CLI\Command(name: 'cistern:nginx')]
  #[CLI\Option(name: 'base-path', description: "The site's sub-directory, if it is installed in one: /blog")]
  #[CLI\Option(name: 'token', description: 'A token for reading, bound to the prefix of the public files.')]
  #[CLI\Option(name: 'private-token', description: 'A token for reading, bound to the prefix of the private files.')]
  #[CLI\Usage(name: 'drush cistern:nginx > /etc/nginx/snippets/cistern.conf', description: 'Then include it in the server block.')]
  public function nginx(array $options = ['base-path' => '', 'token' => '', 'private-token' => '']): string {
    return $this->nginx->render((string) $options['base-path'], (string) $options['token'], (string) $options['private-token']);
  }

  /**
   * Rows, with the exit code that scripts look at.
   *
   * @param list<array<string, mixed>> $rows
   *   What is shown.
   * @param bool $failed
   *   Whether something is wrong.
   */
  private function result(array $rows, bool $failed): CommandResult {
    return CommandResult::dataWithExitCode(new RowsOfFields($rows), $failed ? self::EXIT_FAILURE : self::EXIT_SUCCESS);
  }

}
