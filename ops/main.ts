// The `cistern` command: one file a verb in commands/, each with `register(program)`.
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import * as up from './commands/up.ts';
import { EXIT_HELP } from './lib/failure.ts';
import { runProgram } from './lib/session.ts';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const program = new Command('cistern')
  .description('Replicated file storage for multi-server Drupal sites.')
  .version(version)
  .addHelpText('after', EXIT_HELP);

for (const { register } of [up]) register(program);

await runProgram(program, process.argv.slice(2));
