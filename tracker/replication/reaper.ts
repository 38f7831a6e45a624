// Blobs that lost their last name: after a grace period (longer than the interval between backups, so that a restored
// name still finds its bytes) their replicas are given up for removal.
import { failPoint } from '../../services/fail-points.ts';
import type { Database, Statement } from '../database/database.ts';

const BATCH = 500;

const lockReap: Statement = {
  name: 'reaper-lock-reap',
  text: `SELECT id, fid FROM reap WHERE at <= now() - $1 * interval '1 second' ORDER BY at LIMIT $2
    FOR UPDATE SKIP LOCKED`,
};

// Whoever gives a blob a new name (copy, undelete) holds it FOR KEY SHARE until that name is committed. FOR UPDATE
// waits for them; a plain UPDATE of a column that is no key would not (hazard 6).
export const lockBlobs: Statement = {
  name: 'reaper-lock-blobs',
  text: `SELECT fid FROM blobs WHERE fid = ANY ($1::bigint[]) AND state = 'live' ORDER BY fid FOR UPDATE`,
};

// A statement of its own: it sees the names that were committed while the lock was waited for.
export const letGo: Statement = {
  name: 'reaper-let-go',
  text: `UPDATE blobs b SET state = 'gone', at = now()
    WHERE b.fid = ANY ($1::bigint[]) AND b.state = 'live'
      AND NOT EXISTS (SELECT FROM names n WHERE n.fid = b.fid)
      AND NOT EXISTS (SELECT FROM trash t WHERE t.fid = b.fid)
    RETURNING b.fid`,
};

const giveUpReplicas: Statement = {
  name: 'reaper-give-up',
  text: `UPDATE locations l SET state = 'removing', at = 'epoch' FROM (
      SELECT fid, device_id FROM locations WHERE fid = ANY ($1::bigint[]) AND state <> 'removing'
      ORDER BY fid, device_id FOR UPDATE
    ) mine WHERE l.fid = mine.fid AND l.device_id = mine.device_id`,
};

const forgetRepairs: Statement = {
  name: 'reaper-forget-repairs',
  text: 'DELETE FROM repair WHERE fid = ANY ($1::bigint[])',
};

const doneReap: Statement = { name: 'reaper-done', text: 'DELETE FROM reap WHERE id = ANY ($1::bigint[])' };

/**
 * Reaps one batch of what was un-named at least `afterSeconds` ago by the database's clock. A blob that has a name
 * again stays as it is; when it loses that one, it is queued anew.
 */
export function reap(
  db: Database,
  afterSeconds: number,
): Promise<{ looked: number; gone: number; more: boolean }> {
  return db.transaction(async (tx) => {
    const rows = await tx.query<{ id: number; fid: number }>(lockReap, [afterSeconds, BATCH]);
    if (rows.length === 0) return { looked: 0, gone: 0, more: false };
    const fids = [...new Set(rows.map(({ fid }) => fid))].sort((a, b) => a - b);
    await tx.query(lockBlobs, [fids]);
    const gone = (await tx.query<{ fid: number }>(letGo, [fids])).map(({ fid }) => fid);
    if (gone.length > 0) {
      await tx.query(giveUpReplicas, [gone]);
      await tx.query(forgetRepairs, [gone]);
    }
    failPoint('reaper-open');
    await tx.query(doneReap, [rows.map(({ id }) => id)]);
    return { looked: rows.length, gone: gone.length, more: rows.length === BATCH };
  });
}

// Longer than receipts are accepted: until then the row is the ledger's answer to a commit that is repeated.
const dropTombstones: Statement = {
  name: 'reaper-tombstones',
  text: `DELETE FROM blobs WHERE fid = ANY (ARRAY(
      SELECT b.fid FROM blobs b WHERE b.state <> 'live' AND b.at <= now() - interval '1 day'
        AND NOT EXISTS (SELECT FROM locations l WHERE l.fid = b.fid)
      ORDER BY b.at LIMIT $1 FOR UPDATE SKIP LOCKED))`,
};

/** Forgets blobs that are gone or void for a day and that no device holds any more. True if there may be more. */
export async function forgetTombstones(db: Database): Promise<boolean> {
  return (await db.count(dropTombstones, [BATCH])) === BATCH;
}
