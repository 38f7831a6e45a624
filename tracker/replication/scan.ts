// The level-triggered truth: goes through blobs by fid, compares the copies that can be read now with what the classes
// of their names want, and queues what is short, too many, or badly spread. It needs no memory, so it can be run any
// number of times.
import type { Database, Queryable, Statement } from '../database/database.ts';
import { enqueueQuietly, enqueueRepairs, hurryRepairs } from './queue.ts';
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

/** A LATERAL subquery over `fid` (an SQL expression): what the classes of its names want, `wanted` null if it has none. */
export const policyOf = (fid: string) => `LATERAL (
    SELECT max(c.copies) AS wanted, coalesce(bool_or(c.spread = 'zone'), false) AS "spreadZones" FROM (
      SELECT n.class_id FROM names n WHERE n.fid = ${fid} UNION ALL SELECT t.class_id FROM trash t WHERE t.fid = ${fid}
    ) u JOIN classes c ON c.id = u.class_id)`;

// Copies that stay and can be read are counted as hosts; replicas, also those that are to leave, one by one.
const lookAt = (name: string, batch: string): Statement => ({
  name,
  text: `WITH batch AS MATERIALIZED (${batch})
    SELECT b.fid, b.size, b.want, p.*, ${selected('b.fid', 4)} AS selected, l.*
    FROM batch b, ${policyOf('b.fid')} AS p, LATERAL (
      SELECT count(DISTINCT r.host_id) FILTER (WHERE r.stays) AS copies,
        count(DISTINCT h.zone) FILTER (WHERE r.stays) AS zones,
        count(*) FILTER (WHERE r.good) AS replicas, count(*) FILTER (WHERE r.bad) > 0 AS bad
      FROM (SELECT d.host_id, l.state = 'bad' AS bad,
            l.state = 'good' AND d.state <> 'dead' AND d.id = ANY ($3::int[]) AS good,
            l.state = 'good' AND d.state NOT IN ('dead', 'drain') AND d.id = ANY ($3::int[]) AS stays
          FROM locations l JOIN devices d ON d.id = l.device_id WHERE l.fid = b.fid
        ) AS r JOIN hosts h ON h.id = r.host_id
    ) AS l
    ORDER BY b.fid`,
});

const lookAtAll = lookAt(
  'scan-look',
  `SELECT fid, size, want FROM blobs WHERE fid > $1 AND state = 'live' ORDER BY fid LIMIT $2`,
);
const lookAtDevice = lookAt(
  'scan-look-device',
  `SELECT b.fid, b.size, b.want FROM (
      SELECT fid FROM locations WHERE device_id = $8 AND fid > $1 AND state <> 'removing' ORDER BY fid LIMIT $2
    ) AS here JOIN blobs b ON b.fid = here.fid`,
);

interface Looked {
  fid: number;
  size: number;
  want: number;
  wanted: number | null;
  spreadZones: boolean;
  selected: boolean;
  /** Hosts, and zones, with a good replica that stays and can be read. */
  copies: number;
  zones: number;
  /** Good replicas that can be read. */
  replicas: number;
  bad: boolean;
}

/** What the devices are like now, beside what the database's rows say of them. */
export interface Reach {
  /** Devices that can be read. */
  readable: number[];
  /** How many zones can take new replicas. */
  zones: number;
}

function needsRepair(looked: Looked, reach: Reach): boolean {
  const { wanted, replicas, bad } = looked;
  return wanted !== null && (lacksCopies(looked, reach) || replicas > wanted || bad);
}

/** Too few hosts, or zones. What is merely to be cleaned up is no lack. */
function lacksCopies({ wanted, copies, zones, spreadZones }: Looked, reach: Reach): boolean {
  if (wanted === null) return false;
  return copies < wanted || (spreadZones && zones < Math.min(wanted, reach.zones));
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
  /** Queue nothing, but name what lacks copies. */
  onlyLook?: boolean;
}

/**
 * Looks at up to `limit` blobs after fid `after` (those that are selected) and queues those that are not as their
 * classes want: too few hosts with a good copy on a readable device, too many replicas, too few zones, or bad
 * copies to clean up. A copy on a device that is down does not count here: the repair then says so, and the file is
 * listed until it is back.
 */
export async function scan(
  db: Database,
  { after, limit, selection = {}, onlyLook = false, ...reach }: ScanOrder & Reach,
): Promise<ScanAnswer> {
  const { readable } = reach;
  const rows = await db.query<Looked>(lookAtAll, [after, limit, readable, ...valuesOf(selection)]);
  const named = rows.filter((row) => row.selected && row.wanted !== null);
  const wants = onlyLook ? lacksCopies : needsRepair;
  const short = named.filter((row) => wants(row, reach)).map(({ fid }) => fid);
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

/**
 * Looks at one batch of what a device holds after fid `after`, and queues what is not as it should be, as `scan` does.
 * For devices that are walked again and again (drained, or missed): what is queued already is left as it is, since the
 * need is no new one, and the walk comes again.
 */
export async function scanDevice(
  db: Database,
  deviceId: number,
  { after, limit, ...reach }: { after: number; limit: number } & Reach,
): Promise<ScanAnswer> {
  const rows = await db.query<Looked>(lookAtDevice, [
    after,
    limit,
    reach.readable,
    ...valuesOf({}),
    deviceId,
  ]);
  const short = rows.filter((row) => needsRepair(row, reach)).map(({ fid }) => fid);
  const queued = short.length === 0 ? 0 : await db.count(enqueueQuietly, [short, reach.readable]);
  const last = rows.at(-1)?.fid;
  return {
    scanned: rows.length,
    bytes: rows.reduce((sum, { size }) => sum + size, 0),
    queued,
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

const demandScan: Statement = {
  name: 'scan-demand',
  text: `UPDATE cluster SET scanned = '-infinity'`,
};

/** What files want, or where their copies are, was changed for many: everything is to be scanned soon. */
export async function demandFullScan(db: Queryable): Promise<void> {
  await db.query(demandScan);
}
