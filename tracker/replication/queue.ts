// The repair queue: where to look first. The truth is what blobs.want and the locations say; a row here only hurries a
// look at it, so a lost row costs time and never data (the scan finds it again).
import type { Queryable, Statement } from '../database/database.ts';

export interface Claim {
  fid: number;
  /** Grows with every need. Only the version that was claimed may be finished (hazard 18). */
  version: number;
  attempts: number;
  /** Bytes of the blob. */
  size: number;
}

/** How long a claim is a worker's own without being renewed, in seconds. */
export const LEASE_SECONDS = 60;
const LONGEST_PAUSE_SECONDS = 300;

// Copies are counted as hosts with a good replica on a device that is not dead, and can be read if that is known.
const INSERT_NEEDS = `INSERT INTO repair (fid, copies, want, size)
    SELECT need.fid, (
      SELECT count(DISTINCT d.host_id) FROM locations l JOIN devices d ON d.id = l.device_id
      WHERE l.fid = need.fid AND l.state = 'good' AND d.state <> 'dead'
        AND ($2::int[] IS NULL OR d.id = ANY ($2))), coalesce(b.want, 0), coalesce(b.size, 0)
    FROM unnest($1::bigint[]) AS need (fid) LEFT JOIN blobs b ON b.fid = need.fid ORDER BY need.fid`;
const enqueue: Statement = {
  name: 'repair-enqueue',
  text: `${INSERT_NEEDS}
    ON CONFLICT (fid) DO UPDATE SET version = repair.version + 1, copies = excluded.copies, want = excluded.want,
      attempts = 0, next_try = now()`,
};

/**
 * Queues blobs, or says of those that are queued that there is a new need: a worker that is at one of them will not
 * finish it, but look again. To be called after the change that made the need, in its transaction.
 * @param readable the devices that can be read now; without it, all that are not dead count until a worker looks
 */
export async function enqueueRepairs(tx: Queryable, fids: number[], readable?: number[]): Promise<void> {
  if (fids.length > 0) await tx.query(enqueue, [fids, readable ?? null]);
}

/**
 * Queues what is not queued yet. Only for walks that come again: a need that is new, but whose blob a worker is just
 * finishing, is lost until then.
 */
export const enqueueQuietly: Statement = {
  name: 'repair-enqueue-quietly',
  text: `${INSERT_NEEDS} ON CONFLICT (fid) DO NOTHING`,
};

// Level by level: within a level those whose turn came first. Rows that wait (their next_try is in the future) are not
// even read, so any number of unrepairable blobs does not stand before the others.
const claim: Statement = {
  name: 'repair-claim',
  text: `WITH due AS MATERIALIZED (
      SELECT one.fid, one.size FROM generate_series(0, 16) AS level, LATERAL (
        SELECT fid, size FROM repair WHERE copies = level AND next_try <= now() AND leased_until <= now()
        ORDER BY next_try LIMIT $1 FOR UPDATE SKIP LOCKED
      ) AS one LIMIT $1
    ), claimed AS (
      SELECT fid FROM (SELECT fid, sum(size) OVER (ROWS UNBOUNDED PRECEDING) - size AS before FROM due) AS d
      WHERE before < $3
    )
    UPDATE repair r SET leased_until = now() + $2 * interval '1 second'
    FROM claimed WHERE r.fid = claimed.fid
    RETURNING r.fid, r.version, r.attempts, r.size`,
};

/**
 * Claims up to `limit` repairs, those with the fewest copies first, and no more once they have `bytes` bytes. No other
 * worker gets them while the lease lasts.
 */
export function claimRepairs(
  db: Queryable,
  limit: number,
  bytes = Number.MAX_SAFE_INTEGER,
): Promise<Claim[]> {
  return db.query<Claim>(claim, [limit, LEASE_SECONDS, bytes]);
}

const renew: Statement = {
  name: 'repair-renew',
  text: `UPDATE repair SET leased_until = now() + $2 * interval '1 second' WHERE fid = ANY ($1::bigint[])`,
};

/** Keeps others from blobs whose repair takes long. */
export async function renewLeases(db: Queryable, fids: number[]): Promise<void> {
  await db.query(renew, [fids, LEASE_SECONDS]);
}

const finish: Statement = {
  name: 'repair-finish',
  text: 'DELETE FROM repair WHERE fid = $1 AND version = $2',
};

/** Takes a repair out of the queue, unless a new need came after it was claimed. True if it is out. */
export async function finishRepair(db: Queryable, { fid, version }: Claim): Promise<boolean> {
  return (await db.count(finish, [fid, version])) > 0;
}

// A need that came after the claim has set next_try, and is due at once.
const postpone: Statement = {
  name: 'repair-postpone',
  text: `UPDATE repair SET leased_until = '-infinity', copies = $3, why = $4, attempts = attempts + 1,
      next_try = CASE WHEN version = $2 THEN now() + $5 * interval '1 second' ELSE next_try END
    WHERE fid = $1`,
};

/** Gives a claim back for a later attempt. `copies`: how many can be read now; `why`: a sentence for the operator. */
export async function postponeRepair(
  db: Queryable,
  { fid, version, attempts }: Claim,
  copies: number,
  why: string,
): Promise<void> {
  const pause = Math.min(2 ** attempts, LONGEST_PAUSE_SECONDS);
  await db.query(postpone, [fid, version, copies, why, pause]);
}

const release: Statement = {
  name: 'repair-release',
  text: `UPDATE repair SET leased_until = '-infinity', next_try = now() WHERE fid = $1`,
};

/** Gives a claim back because there is a new need: it is looked at again at once. */
export async function releaseRepair(db: Queryable, fid: number): Promise<void> {
  await db.query(release, [fid]);
}

const hurrySome: Statement = {
  name: 'repair-hurry-some',
  text: 'UPDATE repair SET next_try = now() WHERE fid = ANY ($1::bigint[]) AND next_try > now()',
};
// An attempt that is under way may have begun before the change; by the version, its postponement does not hold.
const hurryAll: Statement = {
  name: 'repair-hurry-all',
  text: `UPDATE repair SET next_try = now(), version = version + 1 WHERE fid = ANY (ARRAY(
      SELECT fid FROM repair WHERE fid > $1 AND why IS NOT NULL AND (next_try > now() OR leased_until > now())
      ORDER BY fid LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING fid`,
};
const HURRIED_AT_ONCE = 10_000;

/**
 * Ends the pause of repairs that could not be done so far, because that may have changed: of these blobs, or of all.
 * @returns how many are due now
 */
export async function hurryRepairs(db: Queryable, fids?: number[]): Promise<number> {
  if (fids !== undefined) return await db.count(hurrySome, [fids]);
  let [hurried, after] = [0, 0];
  for (;;) {
    const rows = await db.query<{ fid: number }>(hurryAll, [after, HURRIED_AT_ONCE]);
    hurried += rows.length;
    if (rows.length < HURRIED_AT_ONCE) return hurried;
    after = Math.max(...rows.map(({ fid }) => fid));
  }
}
