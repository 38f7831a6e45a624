// `cistern import mogilefs`: the domains, classes and keys of a MogileFS that runs, or of a dump of its database, with all
// its files.
import type { Command } from 'commander';
import { attempt, EXIT, failureOf, usage } from '../lib/failure.ts';
import { formatBytes, plural } from '../lib/format.ts';
import { byteRate, list, positive } from '../lib/options.ts';
import { paceOf } from '../lib/pace.ts';
import { run, type Session, verb } from '../lib/session.ts';
import { MogileDump } from '../mogilefs/dump.ts';
import { Move } from '../mogilefs/move.ts';
import type { MogileSource } from '../mogilefs/source.ts';
import { MogileTracker } from '../mogilefs/tracker.ts';

interface Options {
  dump?: string;
  devices?: string;
  only?: string[];
  map?: Map<string, string>;
  stripSlashes?: boolean;
  dryRun?: boolean;
  limitRate: number | 'default';
  concurrency: number;
}

export function register(importing: Command): void {
  verb(
    importing,
    'mogilefs',
    "bring a MogileFS's domains, classes and files in; again and again until nothing is left",
    {
      domain: false,
      examples: [
        'import mogilefs mogile1:7001,mogile2:7001                 all domains',
        'import mogilefs mogile1:7001 --only images --map images=example.com',
        'import mogilefs --dump mogilefs.sql                       without trackers; blobs from the storage nodes',
        'import mogilefs --dump mogilefs.sql --devices /var/mogdata  from the disks: /var/mogdata/dev1, ...',
      ],
    },
  )
    .argument('[trackers]', "MogileFS's trackers, separated by commas: host:port", (text) =>
      list(text, undefined),
    )
    .option('--dump <file>', "a dump of MogileFS's database instead (mysqldump, pg_dump or SQLite's)")
    .option('--devices <dir>', 'with --dump: read the files from devices that are mounted in this directory')
    .option('--only <domains>', 'only these of its domains, separated by commas', list)
    .option('--map <old=new>', 'what a domain is called here (may be repeated)', renames)
    .option('--strip-slashes', 'leave out slashes that a key begins with')
    .option('--dry-run', 'say what would be done, and do nothing')
    .option('--limit-rate <bytes>', "bytes a second that are stored: '500K', '50M', '1G'", byteRate, 0)
    .option('--concurrency <n>', 'files at the same time', positive, 16)
    .action(run(importMogilefs));
}

async function importMogilefs(
  session: Session,
  addresses: string[] | undefined,
  options: Options,
): Promise<number> {
  const { admin: api, out, signal } = session;
  const source = await sourceOf(addresses, options);
  const { only, map = new Map(), stripSlashes = false, dryRun = false, concurrency, limitRate } = options;
  const pace = paceOf(limitRate === 'default' ? 0 : limitRate, signal);
  const move = new Move({
    api,
    source,
    rename: map,
    stripSlashes,
    dryRun,
    concurrency,
    pace,
    signal,
    tell: (event) =>
      void out.line(
        out.json
          ? JSON.stringify(event)
          : `${event.event}\t${event.domain}: ${event.why}\t${out.name(event.path)}`,
      ),
  });
  try {
    const domains = await source.domains();
    const unknown = only?.find((name) => !domains.some((domain) => domain.name === name));
    if (unknown !== undefined) throw usage(`MogileFS has no domain '${unknown}'`);
    const chosen = domains.filter(({ name }) => only?.includes(name) ?? true);
    // Before anything is stored.
    for (const { name } of chosen) move.targetName(name);
    for (const domain of chosen) await move.domain(domain);
  } finally {
    move.end();
    source.close();
  }
  const { counts } = move;
  const left = counts.left + counts.failed;
  await out.item(
    { event: 'done', dryRun, ...counts, notTaken: left },
    () =>
      `${plural(counts.files, 'file')} in ${plural(counts.domains, 'domain')}: ${counts.stored} ${dryRun ? 'to store' : 'stored'} (${formatBytes(counts.storedBytes)}), ` +
      `${counts.upToDate} were there, ${counts.conflicts} in conflict, ${left} left`,
  );
  return left + counts.conflicts === 0 ? EXIT.ok : EXIT.failed;
}

async function sourceOf(addresses: string[] | undefined, { dump, devices }: Options): Promise<MogileSource> {
  if ((addresses === undefined) === (dump === undefined)) {
    throw usage("name MogileFS's trackers, or a dump of its database", 'such as --dump mogilefs.sql');
  }
  if (addresses === undefined) {
    return attempt('cannot read the dump', () => MogileDump.read(dump as string, devices)).catch((error) => {
      throw failureOf(error).withExit(EXIT.couldNotLook);
    });
  }
  if (devices !== undefined) throw usage('--devices wants --dump');
  return new MogileTracker(addresses);
}

function renames(text: string, before: Map<string, string> | undefined): Map<string, string> {
  const [, old, name] = /^(.+)=([^=]+)$/.exec(text) ?? [];
  if (old === undefined || name === undefined) throw usage(`--map wants old=new, not '${text}'`);
  return new Map(before).set(old, name);
}
