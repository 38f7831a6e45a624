// `cistern up`: a whole cluster on this machine, in the foreground, from one command.
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { EXIT_HELP } from '../lib/failure.ts';

export interface UpOptions {
  /** Absolute path of the state directory. */
  state: string;
  /** The first tracker's port; 0: any free one. */
  port: number;
  /** Undefined: as many as last time, 3 at first. */
  nodes?: number;
  /** Of each node that is new. */
  devices: number;
  trackers: number;
  json: boolean;
}

export function register(program: Command): void {
  program
    .command('up')
    .description('start a whole cluster here: PostgreSQL, trackers and storage nodes, until Ctrl-C')
    .option(
      '--state <dir>',
      'where everything is kept, also for the next start',
      absolute,
      resolve('.cistern'),
    )
    .option('--port <n>', "the tracker's port on 127.0.0.1; 0 takes any free one", count(0, 65_535), 7500)
    .option('--nodes <n>', 'storage nodes (default: as last time, 3 at first)', count(1, 64))
    .option('--devices <n>', 'devices of each new storage node', count(1, 64), 2)
    .option('--trackers <n>', 'trackers; those after the first take any free port', count(1, 16), 1)
    .option('--json', 'when ready, print one line of JSON and nothing else on stdout', false)
    .addHelpText('after', HELP)
    .action(async (options: UpOptions) => {
      // Loaded only here: no other verb needs a database client.
      const { runUp } = await import('../up/run.ts');
      await runUp(options);
    });
}

const HELP = `
It prints how to reach the cluster when everything answers, and not before. All servers listen on 127.0.0.1 only.
Ctrl-C stops everything in order; a second Ctrl-C does so at once. What dies is started again.

Examples:
  $ cistern up
  $ cistern up --state /srv/cistern --port 0 --nodes 5 --devices 4 --json
${EXIT_HELP}`;

const absolute = (path: string): string => resolve(path);

function count(from: number, to: number): (text: string) => number {
  return (text) => {
    const number = Number(text);
    if (/^\d+$/.test(text) && number >= from && number <= to) return number;
    throw new InvalidArgumentError(`It must be a number from ${from} to ${to}.`);
  };
}
