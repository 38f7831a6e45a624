// The `cistern` command: one file a verb in commands/, each with `register(program)`.
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import * as backup from './commands/backup.ts';
import * as cat from './commands/cat.ts';
import * as classes from './commands/class.ts';
import * as cp from './commands/cp.ts';
import * as device from './commands/device.ts';
import * as domain from './commands/domain.ts';
import * as exporting from './commands/export.ts';
import * as fsck from './commands/fsck.ts';
import * as get from './commands/get.ts';
import * as host from './commands/host.ts';
import * as importing from './commands/import.ts';
import * as ls from './commands/ls.ts';
import * as mkdir from './commands/mkdir.ts';
import * as mv from './commands/mv.ts';
import * as put from './commands/put.ts';
import * as rebalance from './commands/rebalance.ts';
import * as repair from './commands/repair.ts';
import * as restore from './commands/restore.ts';
import * as rm from './commands/rm.ts';
import * as rmdir from './commands/rmdir.ts';
import * as stat from './commands/stat.ts';
import * as status from './commands/status.ts';
import * as token from './commands/token.ts';
import * as trash from './commands/trash.ts';
import * as up from './commands/up.ts';
import { EXIT_HELP } from './lib/failure.ts';
import { runProgram } from './lib/session.ts';

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const program = new Command('cistern')
  .description('Replicated file storage for multi-server Drupal sites.')
  .version(version)
  // `import` and `import mogilefs` have options of the same names: what follows a verb is that verb's.
  .enablePositionalOptions()
  .addHelpText('after', EXIT_HELP);

program.commandsGroup('Files:');
for (const { register } of [put, get, cat, ls, stat, rm, mv, cp, mkdir, rmdir, trash, importing, exporting])
  register(program);
program.commandsGroup('Cluster:');
for (const { register } of [
  up,
  status,
  fsck,
  repair,
  rebalance,
  backup,
  restore,
  domain,
  classes,
  token,
  host,
  device,
])
  register(program);

await runProgram(program, process.argv.slice(2));
