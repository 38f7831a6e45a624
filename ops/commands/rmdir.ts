// `cistern rmdir`: removes empty directories.
import type { Command } from 'commander';
import { directoryPath } from '../lib/api.ts';
import { forEach, run, verb } from '../lib/session.ts';

export function register(program: Command): void {
  verb(program, 'rmdir', "remove empty directories (with all below: 'cistern rm -r')", {
    examples: ['rmdir public/2019-01'],
  })
    .argument('<directory...>', 'directories')
    .action(
      run((session, directories: string[]) =>
        forEach(
          session,
          directories,
          (directory) => `cannot remove '${directory}'`,
          async (directory) => {
            await session.api.send({ method: 'DELETE', path: directoryPath(session.domain(), directory) });
            if (session.out.json) await session.out.line(JSON.stringify({ deleted: directory }));
          },
        ),
      ),
    );
}
