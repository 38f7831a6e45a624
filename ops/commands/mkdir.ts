// `cistern mkdir`: makes directories.
import type { Command } from 'commander';
import { directoryPath } from '../lib/api.ts';
import { forEach, run, verb } from '../lib/session.ts';
import type { DirectoryEntry } from '../lib/types.ts';

export function register(program: Command): void {
  verb(program, 'mkdir', 'make directories, with their parents', {
    examples: ['mkdir public/2026-12', 'mkdir --no-parents public/2026-12'],
  })
    .argument('<directory...>', 'directories; it is no failure if one is there already')
    .option('-p, --parents', 'make missing parents (this is the default)')
    .option('--no-parents', 'fail if a parent is missing')
    .action(
      run((session, directories: string[], options: { parents?: boolean }) =>
        forEach(
          session,
          directories,
          (directory) => `cannot make '${directory}'`,
          async (directory) => {
            const entry = await session.api.json<DirectoryEntry>({
              method: 'PUT',
              path: directoryPath(session.domain(), directory),
              query: { parents: options.parents === false ? false : undefined },
              repeatable: true,
            });
            if (session.out.json) await session.out.line(JSON.stringify(entry));
          },
        ),
      ),
    );
}
