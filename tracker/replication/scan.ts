// The level-triggered truth: goes through blobs by fid, compares the copies that can be read now with what the classes
// of their names want, and queues what is short. It needs no memory, so it can be run any number of times.
import type { Database, Queryable, Statement } from '../database/database.ts';
import { enqueueRepairs, hurryRepairs } from './queue.ts';
import { type Selection, selected, valuesOf } from './selection.ts';
import { describeFiles, type QueuedFile } from './summary.ts';

// A blob wants the most that any of its names wants (hazard 16). What nothing names wants nothing.
export const wantedOf = (fid: string) => `(SELECT max(c.copies) FROM (
    SELECT n.class_id FROM names n WHERE n.fid = ${fid} UNION ALL SELECT t.class_id FROM trash t WHERE t.fid = ${fid}
  ) u JOIN classes c ON c.id = u.class_id)`;

// OFFSET 0 keeps each EXISTS a look-up for one blob: without it, all of a domain's names may be hashed first.
export const inDomain = (fid: string, domain: string) => `(
  EXISTS (SELECT FROM names n JOIN dirs d ON d.id = n.dir_id WHERE n.fid = ${fid} AND d.domain_id = ${domain} OFFSET 0)
  OR EXISTS (SELECT FROM trash t WHERE t.fid = ${fid} AND t.domain_id = ${domain} OFFSET 0))`;

const lookAt: Statement = {
  name: 'scan-look',
  text: `WITH batch AS MATERIALIZED (
      SELECT fid, size, want FROM blobs WHERE fid > $1 AND state = 'live' ORDER BY fid LIMIT $2
    )
    SELECT b.fid, b.size, b.want, ${wantedOf('b.fid')} AS wanted,
      ${selected('b.fid', 4)} AS selected,
      l.copies, l.bad
    FROM batch b, LATERAL (
      SELECT (count(DISTINCT d.host_id) FILTER (WHERE l.state = 'good' AND d.state <> 'dead' AND d.id = ANY ($3::int[])))::int
          AS copies, count(*) FILTER (WHERE l.state = 'bad') > 0 AS bad
      FROM locations l JOIN devices d ON d.id = l.device_id WHERE l.fid = b.fid
    ) AS l
    ORDER BY b.fid`,
};

interface Looked {
  fid: number;
  size: number;
  want: number;
  wanted: number | null;
  selected: boolean;
  copies: number;
  bad: boolean;
}

// Whoever gives a blob another name holds it FOR KEY SHARE from before it reads `want`: after this lock, the next
// statement sees that name, and does not lower what it relies on.
const lockBlobs: Statement = {
  name: 'scan-lock-blobs',
  text: `SELECT fid FROM blobs WHERE fid = ANY ($1::bigint[]) AND state = 'live' ORDER BY fid FOR UPDATE`,
};

export const setWant: Statement = {
  name: 'scan-set-want',
  text: `UPDATE blobs b SET want = ${wantedOf('b.fid')}
    WHERE b.fid = ANY ($1::bigint[]) AND b.state = 'live' AND ${wantedOf('b.fid')} <> b.want`,
};

async function correctWants(tx: Queryable, fids: number[]): Promise<void> {
  if (fids.length === 0) return;
  await tx.query(lockBlobs, [fids]);
  await tx.query(setWant, [fids]);
}

export interface ScanAnswer {
  scanned: number;
  bytes: number;
  queued: number;
  /** What is short, if it was only looked for. */
  files?: QueuedFile[];
  next?: number;
}

export interface ScanOrder {
  after: number;
  limit: number;
  selection?: Selection;
  /** Queue nothing, but name what would be. */
  onlyLook?: boolean;
}

/**
 * Looks at up to `limit` blobs after fid `after` (those that are selected) and queues those whose good
 * copies on `readable` devices are on fewer hosts than wanted, and those with bad copies to clean up. A copy on a
 * device that is down does not count here: the repair then says so, and the file is listed until it is back.
 */
export async function scan(
  db: Database,
  { after, limit, selection = {}, onlyLook = false, readable }: ScanOrder & { readable: number[] },
): Promise<ScanAnswer> {
  const rows = await db.query<Looked>(lookAt, [after, limit, readable, ...valuesOf(selection)]);
  const named = rows.filter((row) => row.selected && row.wanted !== null);
  const short = named.filter((row) => row.copies < (row.wanted as number) || row.bad).map(({ fid }) => fid);
  const changed = named.filter((row) => row.wanted !== row.want).map(({ fid }) => fid);
  if (!onlyLook && (short.length > 0 || changed.length > 0)) {
    await db.transaction(async (tx) => {
      await correctWants(tx, changed);
      await enqueueRepairs(tx, short, readable);
    });
  }
  // A queued blob that lost its last name needs no copies any more: its repair ends when it is looked at.
  const nameless = rows.filter((row) => row.wanted === null).map(({ fid }) => fid);
  if (!onlyLook && nameless.length > 0) await hurryRepairs(db, nameless);
  const last = rows.at(-1)?.fid;
  return {
    scanned: named.length,
    bytes: named.reduce((sum, { size }) => sum + size, 0),
    queued: short.length,
    ...(onlyLook ? { files: await describeFiles(db, short, readable) } : {}),
    ...(rows.length === limit && last !== undefined ? { next: last } : {}),
  };
}

const claimScan: Statement = {
  name: 'scan-claim',
  text: `UPDATE cluster SET scanned = now() WHERE scanned <= now() - $1 * interval '1 second'`,
};

/** True for one tracker each `everySeconds`: it is its turn to scan everything. */
export async function claimFullScan(db: Database, everySeconds: number): Promise<boolean> {
  return (await db.count(claimScan, [everySeconds])) > 0;
}
