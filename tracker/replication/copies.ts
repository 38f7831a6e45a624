// All changes to where a live blob's replicas are. Which lock protects what:
//
// - The row of a blob in `blobs` protects whether it lives and how many copies it has. Whoever adds a replica, gives
//   one up or finds one bad locks it first, and counts in the NEXT statement: a statement that locks and counts in one
//   counts in the snapshot from before it waited (hazard 7). The reaper takes the same lock, so a replica is never
//   added to a blob that it has just let go (hazards 6, 13).
// - The primary key of `locations` protects a place: a replica is added by ON CONFLICT DO NOTHING, so never over a row
//   in 'removing', and a row in 'removing' is the only permission to unlink (invariant 7).
// - `repair.version` protects needs: the queue's row goes only if nothing was queued since it was claimed (hazard 18).
//
// Locks are always taken in the order reap, blobs, names, locations, repair, and within a table by fid.
// Commits take none of these: they insert a fid that nobody else can have, and what they add to a device that dies or
// is drained meanwhile is found by the walk of such devices, which never ends (hazard 10, see walks.ts and drain.ts).
import { failPoint } from '../../services/fail-points.ts';
import type { Database, Queryable, Statement } from '../database/database.ts';
import { type Claim, enqueueRepairs } from './queue.ts';

/**
 * How old the proof that a device holds a replica may be when its location is written, in seconds by the database's
 * clock. It must stay well below the time for which a row in 'removing' outlives an unlink (see remover.ts): then a
 * replica that was removed since its proof still has that row, and the late location is not written (hazard 13).
 */
export const PROOF_SECONDS = 15;

export const lockBlob: Statement = {
  name: 'copies-lock-blob',
  text: `SELECT fid, want, size FROM blobs WHERE fid = $1 AND state = 'live' FOR UPDATE`,
};

// A replica that is not needed (others were faster, or its device is being drained) is written down as 'removing', so
// that the remover takes it away. It is needed while too few hosts have one that stays, or too few zones where the
// classes want different ones.
export const addLocation: Statement = {
  name: 'copies-add',
  text: `WITH staying AS MATERIALIZED (
      SELECT d.host_id, h.zone FROM locations l JOIN devices d ON d.id = l.device_id JOIN hosts h ON h.id = d.host_id
      WHERE l.fid = $1 AND l.state = 'good' AND d.state NOT IN ('dead', 'drain') AND d.id <> ALL ($6::int[])
    ), verdict AS MATERIALIZED (
      SELECT d.id, d.state <> 'drain' AND NOT EXISTS (SELECT FROM staying s WHERE s.host_id = d.host_id)
        AND ((SELECT count(DISTINCT host_id) FROM staying) < $3
          OR $7 AND NOT EXISTS (SELECT FROM staying s WHERE s.zone = h.zone)
            AND (SELECT count(DISTINCT zone) FROM staying) < $3) AS needed
      FROM devices d JOIN hosts h ON h.id = d.host_id WHERE d.id = $2 AND d.state <> 'dead'
    )
    INSERT INTO locations (fid, device_id, state, at)
    SELECT $1, id, CASE WHEN needed THEN 'good' ELSE 'removing' END, CASE WHEN needed THEN now() ELSE 'epoch' END
    FROM verdict WHERE to_timestamp($4::float8 / 1000) > clock_timestamp() - $5 * interval '1 second'
    ON CONFLICT (fid, device_id) DO NOTHING RETURNING state`,
};

/** What became of a replica that a device was proven to hold. `refused`: dead device, old proof, or a row is there. */
export type Addition = 'added' | 'surplus' | 'refused' | 'not-live';

export interface Beside {
  /** Devices whose replicas do not count: they are down for long, or are about to lose theirs to this one. */
  uncounted?: readonly number[];
  /** The classes want different zones, so one more than wanted may be needed for a while. */
  spreadZones?: boolean;
}

/**
 * Writes down a replica that the device was proven to hold, with its right bytes, at `provenAt` (milliseconds by the
 * database's clock). However late it comes, it adds a verified copy or does nothing.
 */
export function addCopy(
  db: Database,
  fid: number,
  deviceId: number,
  provenAt: number,
  { uncounted = [], spreadZones = false }: Beside = {},
): Promise<Addition> {
  return db.transaction(async (tx) => {
    const [blob] = await tx.query<{ want: number }>(lockBlob, [fid]);
    if (blob === undefined) return 'not-live';
    const [row] = await tx.query<{ state: string }>(addLocation, [
      fid,
      deviceId,
      blob.want,
      provenAt,
      PROOF_SECONDS,
      uncounted,
      spreadZones,
    ]);
    if (row === undefined) return 'refused';
    return row.state === 'good' ? 'added' : 'surplus';
  });
}

const settle: Statement = {
  name: 'copies-settle',
  text: `WITH enough AS MATERIALIZED (
      SELECT count(DISTINCT d.host_id) >= $3 AS yes FROM locations l JOIN devices d ON d.id = l.device_id
      WHERE l.fid = $1 AND l.state = 'good' AND d.state NOT IN ('dead', 'drain') AND d.id = ANY ($4::int[])
    ), lost AS (
      DELETE FROM locations l USING enough, devices d
      WHERE enough.yes AND l.fid = $1 AND l.state = 'bad' AND d.id = l.device_id AND d.state = 'dead'
    ), spoilt AS (
      UPDATE locations l SET state = 'removing', at = 'epoch' FROM enough, devices d
      WHERE enough.yes AND l.fid = $1 AND l.state = 'bad' AND d.id = l.device_id AND d.state <> 'dead'
    )
    DELETE FROM repair r USING enough WHERE enough.yes AND r.fid = $1 AND r.version = $2 RETURNING r.fid`,
};

/**
 * Ends a repair if good replicas on as many hosts as wanted stand on `readable` devices: what was bad is given up for
 * removal (on dead devices: forgotten), and the claimed version leaves the queue. False: look again.
 */
export function settleRepair(db: Database, { fid, version }: Claim, readable: number[]): Promise<boolean> {
  return db.transaction(async (tx) => {
    const [blob] = await tx.query<{ want: number }>(lockBlob, [fid]);
    if (blob === undefined) return false;
    const settled = await tx.count(settle, [fid, version, blob.want, readable]);
    failPoint('repair-settling');
    return settled > 0;
  });
}

export const clearBad: Statement = {
  name: 'copies-clear-bad',
  text: `UPDATE locations l SET state = 'removing', at = 'epoch'
    WHERE l.fid = $1 AND l.device_id = $2 AND l.state = 'bad' AND EXISTS (
      SELECT FROM locations o JOIN devices d ON d.id = o.device_id
      WHERE o.fid = $1 AND o.device_id = $3 AND o.state = 'good' AND d.state <> 'dead')`,
};

/**
 * Gives a bad replica up before the blob has its copies, because its device is needed for a new one. `verified` is a
 * device whose replica was verified just now: the last copy is never given up (invariant 8).
 */
export function clearBadCopy(
  db: Database,
  fid: number,
  deviceId: number,
  verified: number,
): Promise<boolean> {
  return db.transaction(async (tx) => {
    const [blob] = await tx.query(lockBlob, [fid]);
    return blob !== undefined && (await tx.count(clearBad, [fid, deviceId, verified])) > 0;
  });
}

// Of all that is known to be good, only what was verified just now counts, and only where it stays.
export const trim: Statement = {
  name: 'copies-trim',
  text: `WITH kept AS MATERIALIZED (
      SELECT d.host_id, h.zone FROM locations l JOIN devices d ON d.id = l.device_id JOIN hosts h ON h.id = d.host_id
      WHERE l.fid = $1 AND l.device_id = ANY ($3::int[]) AND l.device_id <> $2 AND l.state = 'good'
        AND d.state IN ('alive', 'readonly')
    )
    UPDATE locations l SET state = 'removing', at = 'epoch'
    WHERE l.fid = $1 AND l.device_id = $2 AND l.state = 'good'
      AND (SELECT count(DISTINCT host_id) FROM kept) >= $4 AND (SELECT count(DISTINCT zone) FROM kept) >= $5
      AND to_timestamp($6::float8 / 1000) > clock_timestamp() - $7 * interval '1 second'`,
};

export interface Kept {
  /** Devices whose replicas were verified just now. */
  devices: readonly number[];
  /** In how many zones they must be. */
  zones: number;
  /** When they were, in milliseconds by the database's clock. */
  verifiedAt: number;
}

/**
 * Gives a good replica up, if those that were verified just now are on as many hosts as the blob wants without it
 * (invariant 8). False if they are not, or no longer: then nothing is changed.
 */
export function trimCopy(db: Database, fid: number, deviceId: number, kept: Kept): Promise<boolean> {
  return db.transaction(async (tx) => {
    const [blob] = await tx.query<{ want: number }>(lockBlob, [fid]);
    if (blob === undefined) return false;
    const { devices, zones, verifiedAt } = kept;
    const values = [fid, deviceId, devices, blob.want, zones, verifiedAt, PROOF_SECONDS];
    const trimmed = await tx.count(trim, values);
    failPoint('trim-open');
    return trimmed > 0;
  });
}

const setState: Statement = {
  name: 'copies-set-state',
  text: 'UPDATE locations SET state = $4, at = now() WHERE fid = $1 AND device_id = $2 AND state = $3',
};

async function change(
  db: Database,
  fid: number,
  deviceId: number,
  from: string,
  to: string,
): Promise<boolean> {
  return db.transaction(async (tx) => {
    const [blob] = await tx.query(lockBlob, [fid]);
    if (blob === undefined || (await tx.count(setState, [fid, deviceId, from, to])) === 0) return false;
    await enqueueRepairs(tx, [fid]);
    return true;
  });
}

/** A good replica was proven bad: it counts no longer, and a repair is queued. Its bytes stay for now. */
export function markBad(db: Database, fid: number, deviceId: number): Promise<boolean> {
  return change(db, fid, deviceId, 'good', 'bad');
}

/** A bad replica was verified and is right after all (its disk came back, say). */
export function markGood(db: Database, fid: number, deviceId: number): Promise<boolean> {
  return change(db, fid, deviceId, 'bad', 'good');
}

const addBad: Statement = {
  name: 'copies-add-bad',
  text: `INSERT INTO locations (fid, device_id, state)
    SELECT $1, id, 'bad' FROM devices WHERE id = $2 AND state NOT IN ('dead', 'drain')
    ON CONFLICT (fid, device_id) DO NOTHING`,
};

/** A replica without a location was found and is not right: written down as bad, for the repair to decide about. */
export function addBadCopy(db: Database, fid: number, deviceId: number): Promise<boolean> {
  return db.transaction(async (tx: Queryable) => {
    const [blob] = await tx.query(lockBlob, [fid]);
    if (blob === undefined || (await tx.count(addBad, [fid, deviceId])) === 0) return false;
    await enqueueRepairs(tx, [fid]);
    return true;
  });
}
