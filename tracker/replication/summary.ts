// What the repair queue looks like to an operator: how much is short, what waits and why.
import type { Database, Statement } from '../database/database.ts';
import { nameOf } from './names.ts';
import { isAll, type Selection, selected, valuesOf } from './selection.ts';

/** Of a dead device, so many blobs that its walk has not come by are counted. */
const LOOKED_AT = 50_000;
const STUCK = 20;

export interface QueuedFile {
  fid: number;
  /** Null while the blob has no name any more and waits for the reaper. */
  domain: string | null;
  key: string | null;
  copies: number;
  want: number;
  why: string;
}

export interface RepairSummary {
  queued: number;
  underReplicated: number;
  withoutCopy: number;
  /** Of the blobs that are below their copies. */
  bytes: number;
  oldest: Date | null;
  removing: number;
  reaping: number;
}

// What stands good on dead devices and is not queued yet is short as well: the walk is about to come by.
const summarize: Statement = {
  name: 'summary-counts',
  text: `WITH queue AS MATERIALIZED (
      SELECT count(*) AS queued, count(*) FILTER (WHERE copies < want) AS short,
        count(*) FILTER (WHERE copies = 0 AND want > 0) AS without,
        coalesce(sum(size) FILTER (WHERE copies < want), 0)::bigint AS bytes, min(at) AS oldest FROM repair
    )
    SELECT queue.queued, queue.short
      + (SELECT count(*) FROM devices d, LATERAL (SELECT fid FROM locations WHERE device_id = d.id AND state = 'good'
          LIMIT $1) l WHERE d.state = 'dead' AND NOT EXISTS (SELECT FROM repair r WHERE r.fid = l.fid))
        AS "underReplicated",
      queue.without AS "withoutCopy", queue.bytes, queue.oldest,
      (SELECT count(*) FROM locations WHERE state = 'removing') AS removing,
      (SELECT count(*) FROM reap) AS reaping
    FROM queue`,
};

const summarizeSelected: Statement = {
  name: 'summary-counts-selected',
  text: `SELECT count(*) AS queued, count(*) FILTER (WHERE copies < want) AS "underReplicated",
      count(*) FILTER (WHERE copies = 0 AND want > 0) AS "withoutCopy",
      coalesce(sum(size) FILTER (WHERE copies < want), 0)::bigint AS bytes, min(at) AS oldest,
      (SELECT count(*) FROM locations WHERE state = 'removing') AS removing, (SELECT count(*) FROM reap) AS reaping
    FROM repair r WHERE ${selected('r.fid', 1)}`,
};

/** What is queued: of all files, or of those that are selected. */
const findOldest: Statement = { name: 'summary-oldest', text: 'SELECT min(at) AS oldest FROM repair' };

/** Since when the oldest entry of the queue has been there; null if there is none. By an index, so for every scrape. */
export async function oldestRepair(db: Database): Promise<Date | null> {
  const [row] = await db.query<{ oldest: Date | null }>(findOldest);
  return row?.oldest ?? null;
}

export async function repairSummary(db: Database, selection: Selection = {}): Promise<RepairSummary> {
  const [row] = isAll(selection)
    ? await db.query<RepairSummary>(summarize, [LOOKED_AT])
    : await db.query<RepairSummary>(summarizeSelected, valuesOf(selection));
  return row as RepairSummary;
}

const listStuck: Statement = {
  name: 'summary-stuck',
  text: `SELECT r.fid, name.domain, name.key, r.copies, b.want, r.why, r.attempts
    FROM repair r JOIN blobs b ON b.fid = r.fid LEFT JOIN ${nameOf('r.fid')} AS name ON true
    WHERE r.why IS NOT NULL AND b.state = 'live' AND ${selected('r.fid', 2)}
    ORDER BY r.copies, r.fid LIMIT $1`,
};

/** The repairs that failed at least once, fewest copies first. */
export function stuckRepairs(
  db: Database,
  selection: Selection = {},
): Promise<(QueuedFile & { attempts: number })[]> {
  return db.query(listStuck, [STUCK, ...valuesOf(selection)]);
}

const listQueued: Statement = {
  name: 'summary-queued',
  text: `SELECT r.fid, name.domain, name.key, r.copies, b.want, coalesce(r.why, 'it waits for its turn') AS why
    FROM repair r JOIN blobs b ON b.fid = r.fid LEFT JOIN ${nameOf('r.fid')} AS name ON true
    WHERE r.fid > $1 AND b.state = 'live' AND ${selected('r.fid', 3)} ORDER BY r.fid LIMIT $2`,
};

/** Every queued blob, by fid. */
export function queuedFiles(
  db: Database,
  after: number,
  limit: number,
  selection: Selection = {},
): Promise<QueuedFile[]> {
  return db.query(listQueued, [after, limit, ...valuesOf(selection)]);
}

const describe: Statement = {
  name: 'summary-describe',
  text: `SELECT b.fid, name.domain, name.key, l.copies, b.want, coalesce(r.why,
      CASE WHEN r.fid IS NULL THEN 'it was not queued yet' ELSE 'it waits for its turn' END) AS why
    FROM blobs b LEFT JOIN repair r ON r.fid = b.fid LEFT JOIN ${nameOf('b.fid')} AS name ON true, LATERAL (
      SELECT count(DISTINCT d.host_id) AS copies FROM locations l JOIN devices d ON d.id = l.device_id
      WHERE l.fid = b.fid AND l.state = 'good' AND d.state <> 'dead' AND d.id = ANY ($2::int[])) AS l
    WHERE b.fid = ANY ($1::bigint[]) AND b.state = 'live' ORDER BY b.fid`,
};

/** What is to be said of these blobs: whether they are queued or not, with copies on `readable` devices. */
export async function describeFiles(db: Database, fids: number[], readable: number[]): Promise<QueuedFile[]> {
  return fids.length === 0 ? [] : await db.query(describe, [fids, readable]);
}

const countLevels: Statement = {
  name: 'summary-levels',
  text: 'SELECT copies, count(*) AS blobs FROM repair GROUP BY copies ORDER BY copies',
};

/** How many blobs are queued at each number of copies, for the metrics. */
export function queueLevels(db: Database): Promise<{ copies: number; blobs: number }[]> {
  return db.query(countLevels);
}
