// What `cistern mv` and `cistern cp` have in common: names change, bytes stay where they are.
import type { Command } from 'commander';
import { domainPath, idempotent } from './api.ts';
import { usage } from './failure.ts';
import { destinations } from './local.ts';
import { forEach, run, verb } from './session.ts';
import type { Entry } from './types.ts';

/** Makes the verb for one of the two routes. */
export function registerRelocation(
  program: Command,
  name: 'mv' | 'cp',
  route: 'move' | 'copy',
  about: string,
): void {
  verb(program, name, about, {
    examples: [
      `${name} public/cat.jpg public/pets/cat.jpg`,
      `${name} public/a.jpg public/b.jpg public/pets/   several, into a directory`,
      `${name} public/2026-11 archive/2026-11           a directory with all below it, at once`,
    ],
  })
    .usage('[options] FROM... TO')
    .argument(
      '<from...>',
      "files and directories, then the new key; one that ends with '/' is a directory to go into",
    )
    .option('-n, --no-clobber', 'never replace a file: fail if the key is taken')
    .action(
      run((session, paths: string[], options: { clobber: boolean }) => {
        const from = paths.slice(0, -1);
        if (from.length === 0) throw usage(`${name} wants two keys`, `such as 'cistern ${name} a.jpg b.jpg'`);
        return forEach(
          session,
          destinations(from, paths.at(-1) as string),
          ({ source, target }) => `cannot ${route} '${source}' to '${target}'`,
          async ({ source, target }) => {
            const entry = await session.api.json<Entry>({
              method: 'POST',
              path: `${domainPath(session.domain())}/${route}`,
              headers: idempotent(options.clobber ? {} : { 'if-none-match': '*' }),
              json: { from: source.replace(/\/$/, ''), to: target },
            });
            if (session.out.json) await session.out.line(JSON.stringify(entry));
          },
        );
      }),
    );
}
