// `cistern cat`: prints files to the standard output.
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { download } from '../lib/download.ts';
import { forEach, run, type Session, verb } from '../lib/session.ts';

export function register(program: Command): void {
  verb(program, 'cat', 'print files to the standard output; exit 1 if the bytes were not the right ones', {
    examples: ['cat public/robots.txt', 'cat logs/1.txt logs/2.txt > both.txt'],
  })
    .argument('<key...>', 'keys of files')
    .action(run((session, keys: string[]) => printFiles(session, keys)));
}

/** Prints the files one after the other. Returns the exit code. */
export function printFiles(session: Session, keys: string[]): Promise<number> {
  return forEach(
    session,
    keys,
    (key) => `cannot read '${key}'`,
    (key) =>
      pipeline(download(session.api, session.domain(), key, session.signal), process.stdout, { end: false }),
  );
}
