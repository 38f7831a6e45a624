// The inventory sweep: compares what each device says it holds, page by page, with what the database knows, and puts
// right what neither an upload nor a repair would ever come across: left-overs of uploads, replicas nobody counts, and
// replicas that are counted but not there.
import pLimit from 'p-limit';
import { failPoint } from '../../services/fail-points.ts';
import type { DeviceState } from '../cluster/state.ts';
import type { Database, Statement } from '../database/database.ts';
import { addBadCopy, addCopy } from './copies.ts';
import { inspect, reportBad } from './findings.ts';
import type { Parts } from './parts.ts';

const PAGE = 1000;
/** Replicas that a device reads at once to be adopted: a disk that comes back may hold very many. */
const READS_AT_ONCE = 8;
/** Rows and replicas younger than this may still be on their way to each other. */
const YOUNG_SECONDS = 120;

const claimDevice: Statement = {
  name: 'sweep-claim',
  text: `UPDATE devices SET swept = now() WHERE id = (
      SELECT id FROM devices WHERE id = ANY ($1::int[]) AND swept <= now() - $2 * interval '1 second'
      ORDER BY swept LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id`,
};

/** A device whose inventory is due, for this tracker to sweep; undefined if none is. */
export async function claimSweep(
  db: Database,
  readable: number[],
  everySeconds: number,
): Promise<number | undefined> {
  const [row] = await db.query<{ id: number }>(claimDevice, [readable, everySeconds]);
  return row?.id;
}

// A page is compared with rows that are read after it was fetched: what the page has and the rows lack may be new, and
// is old enough below or looked at again; what the rows have and the page lacks is asked of the node once more.
const rowsOfRange: Statement = {
  name: 'sweep-rows',
  text: `SELECT fid, state, at <= now() - $5 * interval '1 second' AS settled FROM locations
    WHERE device_id = $1 AND fid > $2 AND fid <= $3 ORDER BY fid LIMIT $4`,
};

const blobsOfPage: Statement = {
  name: 'sweep-blobs',
  text: `SELECT fid, state, size, encode(sha256, 'hex') AS sha256 FROM blobs WHERE fid = ANY ($1::bigint[])`,
};

export const sweepFrom: Statement = {
  name: 'sweep-from',
  text: 'SELECT sweep_from AS fid FROM cluster WHERE only_row',
};

// A commit inserts the same key, and exactly one of the two wins (hazard 3).
export const burn: Statement = {
  name: 'sweep-burn',
  text: `INSERT INTO blobs (fid, state, want, size, sha256, created)
    SELECT fid, 'void', 0, 0, '', false FROM unnest($1::bigint[]) AS unknown (fid) ORDER BY fid ON CONFLICT DO NOTHING`,
};

// A statement of its own, so that it sees a commit for which the one above has waited. Gone and void are for ever.
export const giveUp: Statement = {
  name: 'sweep-give-up',
  text: `INSERT INTO locations (fid, device_id, state, at)
    SELECT fid, $2, 'removing', 'epoch' FROM blobs WHERE fid = ANY ($1::bigint[]) AND state <> 'live' ORDER BY fid
    ON CONFLICT (fid, device_id) DO NOTHING`,
};

/** Gives up replicas of fids that no commit owns: what the database does not know is burned first, in one transaction. */
export function removeUnknown(
  db: Database,
  deviceId: number,
  unknown: number[],
  known: number[],
): Promise<number> {
  return db.transaction(async (tx) => {
    if (unknown.length > 0) await tx.query(burn, [unknown]);
    failPoint('sweep-burned');
    return tx.count(giveUp, [[...unknown, ...known], deviceId]);
  });
}

/** Sweeps one device from end to end. Ends early if the device goes away or `signal` is aborted. */
export async function sweepDevice(parts: Parts, device: DeviceState, signal: AbortSignal): Promise<void> {
  const { nodes } = parts;
  let after: number | undefined = 0;
  while (after !== undefined && !signal.aborted) {
    const from: number = after;
    const page = await nodes.inventory(device, { after: from, limit: PAGE, signal });
    after = await comparePage(parts, device, from, page, signal);
  }
}

interface Page {
  blobs: { fid: number; size: number; at: number }[];
  next?: number | undefined;
}
interface Row {
  fid: number;
  state: string;
  settled: boolean;
}
interface Blob {
  fid: number;
  state: 'live' | 'gone' | 'void';
  size: number;
  sha256: string;
}

/** Compares one page; answers with the fid after which the next one begins, undefined at the end. */
async function comparePage(
  parts: Parts,
  device: DeviceState,
  after: number,
  page: Page,
  signal: AbortSignal,
): Promise<number | undefined> {
  const { db, log } = parts;
  const rows = await db.query<Row>(rowsOfRange, [
    device.id,
    after,
    page.next ?? Number.MAX_SAFE_INTEGER,
    10 * PAGE,
    YOUNG_SECONDS,
  ]);
  // A range that is full of rows is compared as far as they were read.
  const end = rows.length === 10 * PAGE ? rows.at(-1)?.fid : page.next;
  const held = page.blobs.filter(({ fid }) => end === undefined || fid <= end);
  const blobs = new Map(
    (await db.query<Blob>(blobsOfPage, [held.map(({ fid }) => fid)])).map((blob) => [blob.fid, blob]),
  );
  const located = new Map(rows.map((row) => [row.fid, row]));
  const [from] = await db.query<{ fid: number }>(sweepFrom);
  const unknown: number[] = [];
  const leftover: number[] = [];
  const adoptable: Blob[] = [];
  for (const replica of held) {
    const blob = blobs.get(replica.fid);
    const row = located.get(replica.fid);
    if (blob === undefined) {
      if (row !== undefined || !isOlder(parts, device, replica.at, parts.config.CISTERN_SWEEP_AFTER_SECONDS))
        continue;
      // Numbers from before a restore may belong to files that the restored database has forgotten (invariant 12).
      if (replica.fid >= (from?.fid ?? Number.MAX_SAFE_INTEGER)) unknown.push(replica.fid);
      else parts.meters.swept.inc({ verdict: 'kept-unknown' });
    } else if (blob.state !== 'live') {
      if (row === undefined) leftover.push(replica.fid);
    } else if (row === undefined) {
      if (isOlder(parts, device, replica.at, uncountedGrace(parts))) adoptable.push(blob);
    } else if (row.state === 'good' && replica.size !== blob.size) {
      await reportBad(parts, replica.fid, device.id, 'corrupt', signal);
    }
  }
  await pLimit(READS_AT_ONCE).map(adoptable, (blob) => adopt(parts, device, blob, signal));
  if (unknown.length + leftover.length > 0) {
    const removed = await removeUnknown(db, device.id, unknown, leftover);
    failPoint('sweep-given-up');
    parts.meters.swept.inc({ verdict: 'removed' }, removed);
    log.info({ device: device.id, host: device.host.name, removed }, 'swept replicas that no file needs');
  }
  const present = new Set(held.map(({ fid }) => fid));
  for (const row of rows) {
    if (row.state !== 'good' || !row.settled || present.has(row.fid)) continue;
    if (await reportBad(parts, row.fid, device.id, 'missing', signal))
      parts.meters.swept.inc({ verdict: 'missing' });
  }
  return end;
}

/** How old a replica of a known blob must be, in seconds, to be looked at though no location counts it. */
export function uncountedGrace({
  config,
}: {
  config: Pick<Parts['config'], 'CISTERN_SWEEP_AFTER_SECONDS'>;
}): number {
  return Math.min(YOUNG_SECONDS, config.CISTERN_SWEEP_AFTER_SECONDS);
}

/** A replica's time is its node's; it is compared by the database's clock. */
export function isOlder(
  { state }: Pick<Parts, 'state'>,
  device: DeviceState,
  at: number,
  seconds: number,
): boolean {
  return at - device.host.clockOffsetMs < state.now() - seconds * 1000;
}

/** A replica of a live blob that no location counts: taken as a copy if one is needed and it is right, else given up. */
async function adopt(
  { db, nodes, state, log, meters }: Parts,
  device: DeviceState,
  blob: Blob,
  signal: AbortSignal,
): Promise<void> {
  const provenAt = state.now();
  const verdict = await inspect(nodes, device, blob, signal);
  const fields = { fid: blob.fid, device: device.id, host: device.host.name };
  if (verdict === 'good') {
    const addition = await addCopy(db, blob.fid, device.id, provenAt);
    meters.swept.inc({ verdict: addition });
    log.info({ ...fields, addition }, 'swept a replica that nobody counted');
  } else if (verdict === 'corrupt' || verdict === 'unreadable') {
    if (await addBadCopy(db, blob.fid, device.id)) meters.swept.inc({ verdict: 'bad' });
  }
}
