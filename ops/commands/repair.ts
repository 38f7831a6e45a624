// `cistern repair`: finds what lacks copies, waits until the trackers have mended it, looks again, and tells the truth.
import type { Command } from 'commander';
import { EXIT, Failure, failureOf } from '../lib/failure.ts';
import { formatBytes, plural } from '../lib/format.ts';
import { byteRate, positive } from '../lib/options.ts';
import { startProgress } from '../lib/progress.ts';
import { follow } from '../lib/repair-follow.ts';
import { AWAY_MS, type Selection } from '../lib/repair-selection.ts';
import { verify } from '../lib/repair-verify.ts';
import { run, type Session, verb } from '../lib/session.ts';
import type { MissingFile } from '../lib/types.ts';

interface Options extends Selection {
  dryRun?: boolean;
  verify?: boolean;
  resume?: string;
  limit?: number | 'default';
  patience: number;
}

/** While others write, each look may find something new; after so many looks it is said as it is. */
const MAX_LOOKS = 10;

export function register(program: Command): void {
  verb(program, 'repair', 'make sure that every file has its copies: look, mend, look again', {
    domain: false,
    examples: [
      'repair                           all files; Ctrl-C stops the watching, not the repair',
      'repair --dry-run                 only look, and list what lacks copies',
      'repair --verify --device 3       read all of one device again, and mend what is bad',
      'repair --domain example.com --prefix public/',
      'repair --limit 50M               copy no more than 50 MiB a second from now on',
      'repair --json                    a line for each event: scan, progress, missing, done',
    ],
  })
    .option('--domain <name>', 'this domain only (CISTERN_DOMAIN is not looked at here)')
    .option('--class <name>', 'files of classes of this name only')
    .option('--prefix <prefix>', 'files whose keys begin so only; wants --domain')
    .option('--device <id>', 'files with a copy on this device only', positive)
    .option('--dry-run', 'only look and list; nothing is queued')
    .option('--verify', 'first have the storage nodes read all these copies again')
    .option('--resume <file>', 'keep the place of --verify in this file, and go on from it if it is there')
    .option(
      '--limit <rate>',
      "what all trackers together may copy in a second, from now on: '50M', 'none', or 'default' for their setting",
      byteRate,
    )
    .option('--patience <seconds>', 'give up after so long without any progress', positive, 60)
    .addHelpText(
      'after',
      'Exit code 0 is given only if, at the last look, every file had its copies. Several may run at once: they share the work.',
    )
    .action(run(repair));
}

async function repair(session: Session, options: Options): Promise<number> {
  let left: MissingFile[];
  let bad = 0;
  try {
    if (options.limit !== undefined)
      await setLimit(session, options.limit === 'default' ? null : options.limit);
    if (options.verify) bad = await verify(session, selectionOf(options), options);
    left = await mend(session, options);
  } catch (error) {
    // Whatever it is: it was not seen whether every file has its copies.
    const failure = failureOf(error, 'cannot see the repair through');
    throw failure.exit === EXIT.interrupted ? failure : failure.withExit(EXIT.couldNotLook);
  }
  // Without a repair, what was found bad still stands.
  const spoilt = options.dryRun ? bad : 0;
  await show(session, left, spoilt);
  if (left.length === 0 && spoilt === 0) return EXIT.ok;
  const lost = left.filter((file) => file.copies === 0).length;
  const lacking = `${plural(left.length, 'file')} ${left.length === 1 ? 'lacks' : 'lack'} copies`;
  throw new Failure(
    (left.length === 0 ? `${plural(spoilt, 'copy is', 'copies are')} bad` : lacking) +
      (lost > 0 ? `, ${lost} of them without any good one` : ''),
    {
      todo: options.dryRun ? "run 'cistern repair' to mend them" : "see the list above and 'cistern status'",
    },
  );
}

function selectionOf({ domain, class: className, prefix, device }: Options): Selection {
  return {
    ...(domain !== undefined && { domain }),
    ...(className !== undefined && { class: className }),
    ...(prefix !== undefined && { prefix }),
    ...(device !== undefined && { device }),
  };
}

/** Looks and waits in turn, until a look finds nothing, or nothing moves any more. Returns what then lacks copies. */
async function mend(session: Session, options: Options): Promise<MissingFile[]> {
  const selection = selectionOf(options);
  if (options.dryRun) return (await scan(session, selection, true)).files;
  for (let looks = 1; ; looks++) {
    const { queued } = await scan(session, selection, false);
    if (queued === 0) return [];
    const mended = await follow(session, selection, options.patience * 1000);
    if (mended && looks < MAX_LOOKS) continue;
    // The last word is that of a look which changes nothing.
    return (await scan(session, selection, true)).files;
  }
}

interface Scanned {
  scanned: number;
  bytes: number;
  queued: number;
}

/** Looks at every file of the selection, and queues those that lack copies, or (`onlyLook`) names them. */
async function scan(
  session: Session,
  selection: Selection,
  onlyLook: boolean,
): Promise<Scanned & { files: MissingFile[] }> {
  const found: Scanned = { scanned: 0, bytes: 0, queued: 0 };
  const files: MissingFile[] = [];
  const bar = startProgress('Looking', 'files', 0, !session.out.json);
  try {
    for (let after: number | undefined = 0; after !== undefined; ) {
      const page: Scanned & { files?: MissingFile[]; next?: number } = await session.admin.json({
        method: 'POST',
        path: '/v1/repair/scan',
        json: { after, onlyLook, ...selection },
        repeatable: true,
        patience: AWAY_MS,
      });
      found.scanned += page.scanned;
      found.bytes += page.bytes;
      found.queued += page.queued;
      files.push(...(page.files ?? []));
      bar.setTotal(found.scanned);
      bar.set(found.scanned);
      after = page.next;
    }
  } finally {
    bar.stop();
  }
  await session.out.item(
    { event: 'scan', ...found },
    () =>
      `looked at ${plural(found.scanned, 'file')} (${formatBytes(found.bytes)}): ` +
      (found.queued === 0 ? 'all have their copies' : `${found.queued.toLocaleString('en-US')} lack copies`),
  );
  return { ...found, files };
}

async function setLimit({ admin, out }: Session, bytesPerSecond: number | null): Promise<void> {
  await admin.json({ method: 'PATCH', path: '/v1/repair', json: { bytesPerSecond }, repeatable: true });
  const rate = bytesPerSecond === null ? "as the trackers' setting says" : `${formatBytes(bytesPerSecond)}/s`;
  await out.item(
    { event: 'limit', bytesPerSecond },
    () => `limit for all trackers together: ${bytesPerSecond === 0 ? 'none' : rate}`,
  );
}

/** Says what is left, file by file. */
async function show({ out }: Session, files: MissingFile[], bad: number): Promise<void> {
  if (out.json) {
    for (const file of files) await out.line(JSON.stringify({ event: 'missing', ...file }));
    const healthy = files.length === 0 && bad === 0;
    return out.line(JSON.stringify({ event: 'done', healthy, missing: files.length }));
  }
  await out.list(files, [
    { head: 'fid', right: true, cell: (file) => String(file.fid) },
    { head: 'copies', right: true, cell: (file) => `${file.copies} of ${file.want}` },
    { head: 'why', cell: (file) => file.why },
    { head: 'domain', cell: (file) => file.domain ?? '-' },
    { head: 'key', cell: (file) => file.key ?? '-' },
  ]);
}
