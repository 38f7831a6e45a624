// `cistern trash`: deleted and replaced versions.
import type { Command } from 'commander';
import pLimit from 'p-limit';
import { domainPath } from '../lib/api.ts';
import { EXIT, isProblem, usage } from '../lib/failure.ts';
import { formatAge, formatBytes, plural } from '../lib/format.ts';
import { listTrash } from '../lib/listing.ts';
import { past, positive, positives } from '../lib/options.ts';
import { confirm, forEach, report, run, type Session, verb } from '../lib/session.ts';
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
    examples: [
      'trash restore 17',
      'trash restore 17 --to public/cat-old.jpg',
      'trash restore --prefix public/2026-11/          what was deleted there and is missing now',
      "trash restore --since '2h ago'                  what was deleted since then and is missing now",
    ],
  })
    .argument('[id...]', "numbers, from 'cistern trash list'", positives)
    .option('--to <key>', 'under another key')
    .option('-n, --no-clobber', 'never replace a file: fail if the key is taken')
    .option(
      '--prefix <prefix>',
      'deleted files whose keys begin with this, each as it was last; never replaces',
    )
    .option('--since <time>', 'deleted files since then, each as it was last; never replaces', past)
    .action(run(restore));
  verb(trash, 'purge', 'give versions up for good, before their time', {
    examples: [
      'trash purge 17 18',
      'trash purge --prefix private/ --yes',
      "trash purge --older-than '7 days ago'",
    ],
  })
    .argument('[id...]', "numbers, from 'cistern trash list'", positives)
    .option('--all', 'all of them')
    .option('--prefix <prefix>', 'of keys that begin with this')
    .option('--older-than <time>', 'that came into the trash before', past)
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

interface Restore {
  to?: string;
  clobber: boolean;
  prefix?: string;
  since?: string;
}

async function restore(session: Session, named: number[] | undefined, options: Restore): Promise<number> {
  const ids = named ?? [];
  const many = options.prefix !== undefined || options.since !== undefined;
  if (many === ids.length > 0) {
    throw usage("say what to restore: numbers (see 'cistern trash list'), or --prefix, --since");
  }
  if (options.to !== undefined && ids.length !== 1)
    throw usage('--to is for one version', 'restore them one by one');
  if (many) return restoreDeleted(session, options);
  return forEach(
    session,
    ids,
    (id) => `cannot restore version ${id}`,
    (id) => restoreOne(session, id, options),
  );
}

async function restoreOne(session: Session, id: number, options: Restore): Promise<void> {
  const entry = await session.api.json<FileEntry>({
    method: 'POST',
    path: `${domainPath(session.domain())}/trash/${id}/restore`,
    headers: options.clobber ? {} : { 'if-none-match': '*' },
    json: options.to === undefined ? {} : { to: options.to },
  });
  await session.out.item(entry, () => `restored '${session.out.name(entry.key)}'`);
}

const AT_ONCE = 8;

/** Puts back what was deleted, each file as it was last, where nothing has taken its place. */
async function restoreDeleted(session: Session, { prefix, since }: Restore): Promise<number> {
  const last = new Map<string, number>();
  const from = since === undefined ? Number.NEGATIVE_INFINITY : Date.parse(since);
  for await (const { id, key, at, reason } of listTrash(session.api, session.domain(), prefix)) {
    if (Date.parse(at) < from) {
      // Without a prefix they come newest first.
      if (prefix === undefined) break;
    } else if (reason !== 'replaced' && id > (last.get(key) ?? 0)) last.set(key, id);
  }
  const limit = pLimit(AT_ONCE);
  let [restored, taken, exit]: [number, number, number] = [0, 0, EXIT.ok];
  const one = async (key: string, id: number) => {
    try {
      await restoreOne(session, id, { clobber: false });
      restored++;
    } catch (error) {
      if (isProblem(error, 'precondition-failed')) taken++;
      else exit = Math.max(exit, report(session, error, `cannot restore '${key}'`));
    }
  };
  await Promise.all([...last].map(([key, id]) => limit(() => one(key, id))));
  const left = taken === 0 ? '' : `; ${plural(taken, 'key')} had a file already`;
  session.out.note(`restored ${plural(restored, 'file')}${left}`);
  return exit;
}

interface Purge {
  all?: boolean;
  prefix?: string;
  olderThan?: string;
  yes?: boolean;
}

async function purge(session: Session, named: number[] | undefined, options: Purge): Promise<number> {
  const ids = named ?? [];
  const { all, prefix, olderThan, yes } = options;
  const many = all === true || prefix !== undefined || olderThan !== undefined;
  if (many === ids.length > 0) {
    throw usage("say which versions: numbers (see 'cistern trash list'), or --prefix, --older-than or --all");
  }
  if (many) return purgeMany(session, options);
  await confirm(`This gives up ${plural(ids.length, 'version')} for good.`, yes);
  return forEach(
    session,
    ids,
    (id) => `cannot purge version ${id}`,
    async (id) => {
      await session.api.send({ method: 'DELETE', path: `${domainPath(session.domain())}/trash/${id}` });
      if (session.out.json) await session.out.line(JSON.stringify({ purged: id }));
    },
  );
}

async function purgeMany(session: Session, { prefix, olderThan, yes }: Purge): Promise<number> {
  const of = prefix === undefined ? '' : ` of keys that begin with '${prefix}'`;
  const before = olderThan === undefined ? '' : ` from before ${olderThan}`;
  await confirm(
    `This gives up all versions${of} in the trash of '${session.domain()}'${before} for good.`,
    yes,
  );
  let purged = 0;
  for (let cursor: string | undefined, more = true; more; ) {
    const page: { purged: number; next?: string } = await session.api.json({
      method: 'DELETE',
      path: `${domainPath(session.domain())}/trash`,
      query: { prefix, before: olderThan, limit: 1000, cursor },
      // What was given up stays so.
      repeatable: true,
    });
    purged += page.purged;
    cursor = page.next;
    more = cursor !== undefined;
  }
  await session.out.item({ versions: purged }, () => `gave up ${plural(purged, 'version')}`);
  return EXIT.ok;
}
