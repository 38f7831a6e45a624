// `cistern rm`: deletes files, and directories with all below them.
import type { Command } from 'commander';
import { directoryKey, directoryPath, filePath, idempotent } from '../lib/api.ts';
import { isProblem } from '../lib/failure.ts';
import { confirm, forEach, run, type Session, verb } from '../lib/session.ts';

interface Options {
  recursive?: boolean;
  force?: boolean;
  yes?: boolean;
}

export function register(program: Command): void {
  verb(program, 'rm', "delete files; they go to the trash if their class says so (see 'cistern trash')", {
    examples: ['rm public/cat.jpg', 'rm -r public/2019-01', "rm -f 'a file that may be gone.txt'"],
  })
    .argument('<key...>', 'keys')
    .option('-r, --recursive', 'directories too, each with all below it as one operation')
    .option('-f, --force', 'it is no failure if there is nothing of that name')
    .option('--yes', "do not ask before all of a domain's files are deleted (rm -r /)")
    .action(run(rm));
}

function rm(session: Session, keys: string[], options: Options): Promise<number> {
  return forEach(
    session,
    keys,
    (key) => `cannot delete '${key}'`,
    async (key) => {
      try {
        await removeOne(session, key, options);
      } catch (error) {
        if (options.force && isProblem(error, 'file-not-found', 'directory-not-found')) return;
        throw error;
      }
      if (session.out.json) await session.out.line(JSON.stringify({ deleted: key }));
    },
  );
}

async function removeOne(session: Session, given: string, { recursive, yes }: Options): Promise<void> {
  const domain = session.domain();
  const key = directoryKey(given);
  if (recursive && key === '') {
    await confirm(`This deletes ALL files of the domain '${domain}'.`, yes);
  }
  if (key !== '') {
    try {
      return await session.api.send({ method: 'DELETE', path: filePath(domain, key), headers: idempotent() });
    } catch (error) {
      if (!recursive || !isProblem(error, 'is-a-directory')) throw error;
    }
  }
  await session.api.send({
    method: 'DELETE',
    path: directoryPath(domain, given),
    // Without -r the tracker refuses what is not empty, and the root.
    query: { recursive: recursive || undefined },
    repeatable: false,
  });
}
