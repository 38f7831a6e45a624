// `cistern repair`: finds what lacks copies, waits until the trackers have mended it, looks again, and tells the truth.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { EXIT, Failure, failureOf } from '../lib/failure.ts';
import { formatBytes, plural } from '../lib/format.ts';
import { listMissing } from '../lib/listing.ts';
import { positive } from '../lib/options.ts';
import { startProgress } from '../lib/progress.ts';
import { run, type Session, verb } from '../lib/session.ts';
import { type Mark, moved, nothingToTry } from '../lib/standstill.ts';
import type { MissingFile, Repair } from '../lib/types.ts';

interface Options {
  domain?: string;
  dryRun?: boolean;
  patience: number;
}

/** A repair outlives the restart of a tracker or of the database. Milliseconds. */
const AWAY_MS = 60_000;
const POLL_MS = 500;
/** Without a terminal a line is printed this often, if something changed. Milliseconds. */
const REPORT_MS = 5_000;
/** While others write, each look may find something new; after so many looks it is said as it is. */
const MAX_LOOKS = 10;

export function register(program: Command): void {
  verb(program, 'repair', 'make sure that every file has its copies: look, mend, look again', {
    domain: false,
    examples: [
      'repair                        all files; Ctrl-C stops the watching, not the repair',
      'repair --dry-run              only look, and list what lacks copies',
      'repair --domain example.com   one domain',
      'repair --json                 a line for each event: scan, progress, missing, done',
    ],
  })
    .option('--domain <name>', 'this domain only (CISTERN_DOMAIN is not looked at here)')
    .option('--dry-run', 'look and list, do not wait; the trackers mend by themselves what was found')
    .option('--patience <seconds>', 'give up after so long without any progress', positive, 60)
    .addHelpText('after', 'Exit code 0 is given only if, at the last look, every file had its copies.')
    .action(run(repair));
}

async function repair(session: Session, options: Options): Promise<number> {
  let left: Left;
  try {
    left = await mend(session, options);
  } catch (error) {
    // Whatever it is: it was not seen whether every file has its copies.
    const failure = failureOf(error, 'cannot see the repair through');
    throw failure.exit === EXIT.interrupted ? failure : failure.withExit(EXIT.couldNotLook);
  }
  await show(session, left);
  if (left.lacking === 0) return EXIT.ok;
  const lost = left.files.filter((file) => file.copies === 0).length;
  throw new Failure(
    `${plural(left.lacking, 'file')} ${left.lacking === 1 ? 'lacks' : 'lack'} copies` +
      (lost > 0 ? `, ${lost} of them without any good one` : ''),
    { todo: "see the list above and 'cistern status'" },
  );
}

interface Left {
  /** How many files lacked copies at the last look: the truth. */
  lacking: number;
  /** What the queue says of them. It moves on meanwhile. */
  files: MissingFile[];
}

/** Looks and waits in turn, until a look finds nothing, or nothing moves any more. */
async function mend(session: Session, { domain, dryRun, patience }: Options): Promise<Left> {
  let lacking = await scan(session, domain);
  for (let looks = 1; lacking > 0 && !dryRun && looks < MAX_LOOKS; looks++) {
    const mended = await follow(session, patience * 1000);
    // Taken before the last look, which has everything tried anew and so forgets what was found out.
    const files = mended ? [] : await listLeft(session, domain);
    lacking = await scan(session, domain);
    if (!mended && files.length > 0) return { lacking, files: lacking === 0 ? [] : files };
  }
  return { lacking, files: lacking === 0 ? [] : await listLeft(session, domain) };
}

async function listLeft(session: Session, domain: string | undefined): Promise<MissingFile[]> {
  const files: MissingFile[] = [];
  for await (const file of listMissing(session.admin)) {
    if (domain === undefined || file.domain === domain) files.push(file);
  }
  return files;
}

/** Looks at every file, and queues those that lack copies. Returns how many they are. */
async function scan(session: Session, domain: string | undefined): Promise<number> {
  const found = { scanned: 0, bytes: 0, queued: 0 };
  const bar = startProgress('Looking', 'files', 0, !session.out.json);
  try {
    for (let after: number | undefined = 0; after !== undefined; ) {
      const batch: typeof found & { next?: number } = await session.admin.json({
        method: 'POST',
        path: '/v1/repair/scan',
        json: { after, ...(domain !== undefined && { domain }) },
        repeatable: true,
        patience: AWAY_MS,
      });
      found.scanned += batch.scanned;
      found.bytes += batch.bytes;
      found.queued += batch.queued;
      bar.setTotal(found.scanned);
      bar.set(found.scanned);
      after = batch.next;
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
  return found.queued;
}

/** Watches the queue until it is empty (true), or nothing moves any more (false). */
async function follow(session: Session, patience: number): Promise<boolean> {
  const { out, signal } = session;
  const first = await state(session);
  let total = first.queued;
  let mark: Mark = { state: first, at: Date.now() };
  let reported = Date.now();
  const bar = startProgress('Repairing', 'files', total, !out.json);
  try {
    for (;;) {
      const now = await state(session);
      if (now.queued === 0) return true;
      if (moved(mark.state, now)) mark = { state: now, at: Date.now() };
      const still = Date.now() - mark.at;
      if (still >= patience || nothingToTry(first, now, still)) return false;
      total = Math.max(total, now.queued);
      bar.setTotal(total);
      bar.set(total - now.queued);
      if (!process.stderr.isTTY && mark.at > reported && Date.now() - reported >= REPORT_MS) {
        reported = Date.now();
        await progressLine(session, now, total);
      }
      await sleep(POLL_MS, undefined, { signal });
    }
  } finally {
    bar.stop();
  }
}

async function progressLine(session: Session, now: Repair, total: number): Promise<void> {
  const { queued, underReplicated, withoutCopy, oldest } = now;
  await session.out.item(
    { event: 'progress', total, queued, underReplicated, withoutCopy, oldest },
    () => `repaired ${total - queued} of ${plural(total, 'file')}`,
  );
}

function state(session: Session): Promise<Repair> {
  return session.admin.json<Repair>({ method: 'GET', path: '/v1/repair', patience: AWAY_MS });
}

/** Says what is left, file by file. */
async function show({ out }: Session, { lacking, files }: Left): Promise<void> {
  if (out.json) {
    for (const file of files) await out.line(JSON.stringify({ event: 'missing', ...file }));
    return out.line(JSON.stringify({ event: 'done', healthy: lacking === 0, missing: lacking }));
  }
  await out.list(files, [
    { head: 'fid', right: true, cell: (file) => String(file.fid) },
    { head: 'copies', right: true, cell: (file) => `${file.copies} of ${file.want}` },
    { head: 'why', cell: (file) => file.why },
    { head: 'domain', cell: (file) => file.domain ?? '-' },
    { head: 'key', cell: (file) => file.key ?? '-' },
  ]);
}
