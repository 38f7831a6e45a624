// `cistern trash`: deleted and replaced versions.
import type { Command } from 'commander';
import { domainPath } from '../lib/api.ts';
import { EXIT, usage } from '../lib/failure.ts';
import { formatAge, formatBytes, plural } from '../lib/format.ts';
import { listTrash } from '../lib/listing.ts';
import { positive, positives } from '../lib/options.ts';
import { confirm, forEach, run, type Session, verb } from '../lib/session.ts';
import type { FileEntry, TrashedVersion } from '../lib/types.ts';

export function register(program: Command): void {
  const trash = program
    .command('trash')
    .description('list, restore or give up deleted and replaced versions');
  verb(trash, 'list', 'list versions in the trash, newest first (with --prefix: by key)', {
    examples: ['trash list', 'trash list --prefix public/2026-11/ --limit 20'],
  })
    .option('--prefix <prefix>', 'only keys that begin with this')
    .option('--limit <n>', 'at most so many', positive)
    .action(run(list));
  verb(trash, 'restore', 'put versions back; what they replace goes to the trash in turn', {
    examples: ['trash restore 17', 'trash restore 17 --to public/cat-old.jpg', 'trash restore -n 17 18 19'],
  })
    .argument('<id...>', "numbers, from 'cistern trash list'", positives)
    .option('--to <key>', 'under another key')
    .option('-n, --no-clobber', 'never replace a file: fail if the key is taken')
    .action(run(restore));
  verb(trash, 'purge', 'give versions up for good, before their time', {
    examples: ['trash purge 17 18', 'trash purge --all --prefix private/ --yes'],
  })
    .argument('[id...]', "numbers, from 'cistern trash list'", positives)
    .option('--all', 'all of them')
    .option('--prefix <prefix>', 'with --all: only keys that begin with this')
    .option('--yes', 'do not ask')
    .action(run(purge));
}

async function list(session: Session, options: { prefix?: string; limit?: number }): Promise<undefined> {
  const { out } = session;
  const versions: TrashedVersion[] = [];
  for await (const version of listTrash(session.api, session.domain(), options.prefix)) {
    versions.push(version);
    if (versions.length === options.limit) break;
  }
  await out.list(versions, [
    { head: 'id', right: true, cell: (v) => String(v.id) },
    { head: 'reason', cell: (v) => v.reason },
    { head: 'when', cell: (v) => (out.terminal ? formatAge(v.at) : v.at) },
    { head: 'size', right: true, cell: (v) => (out.terminal ? formatBytes(v.size) : String(v.size)) },
    { head: 'key', cell: (v) => v.key },
  ]);
}

async function restore(
  session: Session,
  ids: number[],
  options: { to?: string; clobber: boolean },
): Promise<number> {
  if (options.to !== undefined && ids.length > 1)
    throw usage('--to is for one version', 'restore them one by one');
  return forEach(
    session,
    ids,
    (id) => `cannot restore version ${id}`,
    async (id) => {
      const entry = await session.api.json<FileEntry>({
        method: 'POST',
        path: `${domainPath(session.domain())}/trash/${id}/restore`,
        headers: options.clobber ? {} : { 'if-none-match': '*' },
        json: options.to === undefined ? {} : { to: options.to },
      });
      await session.out.item(entry, () => `restored '${session.out.name(entry.key)}'`);
    },
  );
}

async function purge(
  session: Session,
  ids: number[] | undefined,
  options: { all?: boolean; prefix?: string; yes?: boolean },
): Promise<number> {
  const chosen = ids ?? [];
  if (options.all) {
    for await (const { id } of listTrash(session.api, session.domain(), options.prefix)) chosen.push(id);
  } else if (chosen.length === 0) {
    throw usage('no version is named', "name their numbers (see 'cistern trash list'), or say --all");
  }
  if (chosen.length === 0) return EXIT.ok;
  await confirm(`This gives up ${plural(chosen.length, 'version')} for good.`, options.yes);
  return forEach(
    session,
    chosen,
    (id) => `cannot purge version ${id}`,
    async (id) => {
      await session.api.send({ method: 'DELETE', path: `${domainPath(session.domain())}/trash/${id}` });
      if (session.out.json) await session.out.line(JSON.stringify({ purged: id }));
    },
  );
}
