// `cistern class`: how many copies which files get.
import { type Command, Option } from 'commander';
import { domainPath } from '../lib/api.ts';
import { EXIT } from '../lib/failure.ts';
import { list as listOf, positive } from '../lib/options.ts';
import { run, type Session, verb } from '../lib/session.ts';
import type { StorageClass } from '../lib/types.ts';

interface SetOptions {
  copies?: number;
  minCopies?: number;
  spread?: string;
  prefix?: string[];
  trash?: boolean;
}

export function register(program: Command): void {
  const command = program
    .command('class')
    .description("list, set or remove a domain's classes (replication policies)");
  verb(command, 'list', 'list the classes of the domain', {
    examples: ['class list --domain example.com'],
  }).action(run(list));
  verb(command, 'set', 'make a class, or change what is named of it', {
    examples: [
      'class set default --copies 3',
      'class set default --spread zone',
      'class set thumbnails --copies 2 --min-copies 1 --prefix public/styles/ --no-trash',
    ],
  })
    .argument('<name>')
    .option('--copies <n>', 'copies that each file shall have, on different hosts (a new class: 2)', positive)
    .option('--min-copies <n>', 'copies before an upload is acknowledged (a new class: 2)', positive)
    .addOption(
      new Option('--spread <over>', 'what the copies are spread over (a new class: host)').choices([
        'host',
        'zone',
      ]),
    )
    .option('--prefix <prefixes>', "keys that it is chosen for: 'a/,b/' or repeated; '' for none", listOf)
    .option('--trash', 'keep deleted and replaced versions for a time (a new class does)')
    .option('--no-trash', 'give deleted and replaced versions up at once')
    .action(run(set));
  verb(command, 'rm', 'remove a class that no file uses', { examples: ['class rm thumbnails'] })
    .argument('<name>')
    .action(run(remove));
}

async function list(session: Session): Promise<undefined> {
  const { classes } = await session.admin.json<{ classes: StorageClass[] }>({
    method: 'GET',
    path: `${domainPath(session.domain())}/classes`,
  });
  await session.out.list(classes, [
    { head: 'copies', right: true, cell: (c) => String(c.copies) },
    { head: 'min copies', right: true, cell: (c) => String(c.minCopies) },
    { head: 'spread', cell: (c) => c.spread },
    { head: 'trash', cell: (c) => (c.trash ? 'yes' : 'no') },
    { head: 'prefixes', cell: (c) => c.prefixes.join(', ') || '-' },
    { head: 'name', cell: (c) => c.name },
  ]);
}

async function set(session: Session, name: string, options: SetOptions): Promise<undefined> {
  const { copies, minCopies, spread, prefix, trash } = options;
  const made = await session.admin.json<StorageClass>({
    method: 'PUT',
    path: classPath(session, name),
    // What is not named stays as it is.
    json: {
      ...(copies !== undefined && { copies }),
      ...(minCopies !== undefined && { minCopies }),
      ...(spread !== undefined && { spread }),
      ...(prefix !== undefined && { prefixes: prefix }),
      ...(trash !== undefined && { trash }),
    },
    repeatable: true,
  });
  await session.out.item(
    made,
    () => `class '${made.name}': ${made.copies} copies, ${made.minCopies} before an upload is acknowledged`,
  );
}

async function remove(session: Session, name: string): Promise<number> {
  await session.admin.send({ method: 'DELETE', path: classPath(session, name) });
  if (session.out.json) await session.out.line(JSON.stringify({ deleted: name }));
  return EXIT.ok;
}

function classPath(session: Session, name: string): string {
  return `${domainPath(session.domain())}/classes/${encodeURIComponent(name)}`;
}
