// Dead devices: what they held counts no longer and is queued for repair, by (device, fid) in batches. A walk that
// reached the end begins again, for as long as the device is dead: a commit in flight may add a row behind it (hazard
// 10), so no walk is ever the last one (walks.ts).
import { failPoint } from '../../services/fail-points.ts';
import type { Database, Statement } from '../database/database.ts';
import { enqueueRepairs } from './queue.ts';

const BATCH = 1000;

// Held to the end: a device that is being revived (revive.ts) must not lose what was verified and counted again.
export const lockDead: Statement = {
  name: 'dead-lock-device',
  text: `SELECT id FROM devices WHERE id = $1 AND state = 'dead' FOR SHARE`,
};

// Nothing else takes many of these rows, and always in the order of fids. The blobs need no lock: a dead device's
// replicas count nowhere, whatever their rows say.
export const lockGood: Statement = {
  name: 'dead-lock-good',
  text: `SELECT fid FROM locations WHERE device_id = $1 AND fid > $2 AND state = 'good'
    ORDER BY fid LIMIT $3 FOR UPDATE SKIP LOCKED`,
};

// Rows that went need not be read by the next walk. OFFSET 0 keeps EXISTS a look-up for each row: as a join, it was
// planned to go through all locations first.
export const forget: Statement = {
  name: 'dead-forget',
  text: `DELETE FROM locations l WHERE l.device_id = $1 AND l.fid = ANY ($2::bigint[]) AND EXISTS (
      SELECT FROM locations o JOIN devices d ON d.id = o.device_id
      WHERE o.fid = l.fid AND o.device_id <> $1 AND o.state = 'good' AND d.state <> 'dead' OFFSET 0)`,
};

// The last trace of a blob's bytes is kept: it tells the operator which disk had them.
const keepTrace: Statement = {
  name: 'dead-keep-trace',
  text: `UPDATE locations SET state = 'bad', at = now()
    WHERE device_id = $1 AND fid = ANY ($2::bigint[]) AND state = 'good'`,
};

/** Takes one batch after fid `after`; answers with how many rows it took and where it ended. Nothing if it is not dead. */
export function walkDeadDevice(
  db: Database,
  deviceId: number,
  after: number,
): Promise<{ queued: number; next: number | undefined }> {
  return db.transaction(async (tx) => {
    if ((await tx.query(lockDead, [deviceId])).length === 0) return { queued: 0, next: undefined };
    const rows = await tx.query<{ fid: number }>(lockGood, [deviceId, after, BATCH]);
    const fids = rows.map(({ fid }) => fid);
    if (fids.length > 0) {
      await tx.query(forget, [deviceId, fids]);
      await tx.query(keepTrace, [deviceId, fids]);
      failPoint('dead-walk-open');
      await enqueueRepairs(tx, fids);
    }
    return { queued: fids.length, next: fids.length < BATCH ? undefined : fids.at(-1) };
  });
}
