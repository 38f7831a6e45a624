// What copies.ts does for one blob, for many in one transaction: the same locks in the same order, and what is decided is
// decided in the statement after the one that locks. Here only the plain case is decided: a blob that has exactly what it
// wants, and nothing to tidy up but bad copies. Whatever else there is, repair.ts looks at it by itself.
import { failPoint } from '../../services/fail-points.ts';
import type { Database, Statement } from '../database/database.ts';
import { PROOF_SECONDS } from './copies.ts';
import type { Claim } from './queue.ts';

export const lockBlobs: Statement = {
  name: 'copies-many-lock',
  text: `SELECT fid FROM blobs WHERE fid = ANY ($1::bigint[]) AND state = 'live' ORDER BY fid FOR UPDATE`,
};

// Of several new replicas of one blob, each counts those before it.
export const addLocations: Statement = {
  name: 'copies-many-add',
  text: `WITH made AS MATERIALIZED (
      SELECT m.fid, m.device_id, d.host_id, d.state, b.want,
        row_number() OVER (PARTITION BY m.fid ORDER BY m.device_id) AS nth
      FROM unnest($1::bigint[], $2::int[], $3::float8[]) AS m (fid, device_id, proven)
      JOIN blobs b ON b.fid = m.fid AND b.state = 'live'
      JOIN devices d ON d.id = m.device_id AND d.state <> 'dead'
      WHERE to_timestamp(m.proven / 1000) > clock_timestamp() - $4 * interval '1 second'
    ), verdict AS MATERIALIZED (
      SELECT m.fid, m.device_id, m.state <> 'drain' AND NOT s.same AND s.hosts + m.nth <= m.want AS needed
      FROM made m, LATERAL (
        SELECT count(DISTINCT d.host_id) AS hosts, coalesce(bool_or(d.host_id = m.host_id), false) AS same
        FROM locations l JOIN devices d ON d.id = l.device_id
        WHERE l.fid = m.fid AND l.state = 'good' AND d.state NOT IN ('dead', 'drain') AND d.id <> ALL ($5::int[])
      ) AS s
    )
    INSERT INTO locations (fid, device_id, state, at)
    SELECT fid, device_id, CASE WHEN needed THEN 'good' ELSE 'removing' END, CASE WHEN needed THEN now() ELSE 'epoch' END
    FROM verdict ORDER BY fid, device_id
    ON CONFLICT (fid, device_id) DO NOTHING RETURNING fid, state`,
};

/** A replica that a device was proven to hold, at `provenAt` (milliseconds by the database's clock). */
export interface Made {
  fid: number;
  device: number;
  provenAt: number;
}

/**
 * Writes down replicas that devices were proven to hold; each as `addCopy` does. Answers with the fids of those that
 * count now.
 * @param uncounted devices whose replicas do not count
 */
export function addCopies(db: Database, made: Made[], uncounted: readonly number[] = []): Promise<number[]> {
  return db.transaction(async (tx) => {
    await tx.query(lockBlobs, [made.map(({ fid }) => fid)]);
    const rows = await tx.query<{ fid: number; state: string }>(addLocations, [
      made.map(({ fid }) => fid),
      made.map(({ device }) => device),
      made.map(({ provenAt }) => provenAt),
      PROOF_SECONDS,
      uncounted,
    ]);
    return rows.flatMap(({ fid, state }) => (state === 'good' ? [fid] : []));
  });
}

export const settleAll: Statement = {
  name: 'copies-many-settle',
  text: `WITH enough AS MATERIALIZED (
      SELECT c.fid, c.version FROM unnest($1::bigint[], $2::int[]) AS c (fid, version)
      JOIN blobs b ON b.fid = c.fid AND b.state = 'live', LATERAL (
        SELECT count(*) AS replicas, count(DISTINCT d.host_id) FILTER (
          WHERE d.state <> 'drain' AND d.id = ANY ($3::int[])) AS hosts
        FROM locations l JOIN devices d ON d.id = l.device_id
        WHERE l.fid = c.fid AND l.state = 'good' AND d.state <> 'dead'
      ) AS l WHERE l.hosts = b.want AND l.replicas = b.want
    ), lost AS (
      DELETE FROM locations l USING enough e, devices d
      WHERE l.fid = e.fid AND l.state = 'bad' AND d.id = l.device_id AND d.state = 'dead'
    ), spoilt AS (
      UPDATE locations l SET state = 'removing', at = 'epoch' FROM enough e, devices d
      WHERE l.fid = e.fid AND l.state = 'bad' AND d.id = l.device_id AND d.state <> 'dead'
    )
    DELETE FROM repair r USING enough e WHERE r.fid = e.fid AND r.version = e.version RETURNING r.fid`,
};

/**
 * Ends those repairs whose blobs have good replicas on exactly as many hosts as wanted, all on `readable` devices, as
 * `settleRepair` does. Answers with their fids; the others want a closer look.
 */
export function settleRepairs(db: Database, claims: Claim[], readable: number[]): Promise<Set<number>> {
  return db.transaction(async (tx) => {
    await tx.query(lockBlobs, [claims.map(({ fid }) => fid)]);
    const rows = await tx.query<{ fid: number }>(settleAll, [
      claims.map(({ fid }) => fid),
      claims.map(({ version }) => version),
      readable,
    ]);
    failPoint('repair-settling');
    return new Set(rows.map(({ fid }) => fid));
  });
}
