// After a backup was loaded: compares it with what the devices hold, and gives names back to what was stored since.
//
// What the journals tell of a blob is what it was stored for. Whether that upload was acknowledged, and whether its
// name was deleted, moved or replaced by a copy later, they do not know. So what comes back is at worst too much.

import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import type { JournalEntry } from '../../services/protocol.ts';
import { DATABASE_IDENTITY } from '../cluster/snapshot.ts';

/** What one device says that it holds. */
export interface Holding {
  device: number;
  blobs: AsyncIterable<{ fid: number; size: number }>;
  records: AsyncIterable<JournalEntry>;
  /** Highest fid that was ever there. */
  highestFid: number;
}

/** A blob that the backup does not know, with the devices that hold it. */
export interface Newcomer {
  fid: number;
  size: number;
  sha256: string;
  /** Milliseconds since the epoch, by the clock of a node. */
  at: number;
  domain: string | null;
  key: string | null;
  class: string | null;
  devices: number[];
}

export interface Lost {
  domain: string;
  key: string;
  fid: number;
}

/** Fids that are handed out from now on are beyond all that ever were. */
const GAP = 1_000_000;

const prepare = `
  CREATE TEMPORARY TABLE held (device_id integer, fid bigint, size bigint) ON COMMIT DROP;
  CREATE TEMPORARY TABLE noted (device_id integer, fid bigint, size bigint, sha256 bytea, at bigint,
    domain text, key text, class text) ON COMMIT DROP`;

const index = `
  CREATE INDEX ON held (fid, device_id);
  CREATE INDEX ON noted (fid, device_id);
  ANALYZE held; ANALYZE noted`;

// A replica that is not there, or has another length. The rows stay, as bad ones: repair mends the blob, or says who
// had it last.
const missReplicas = `UPDATE locations l SET state = 'bad', at = now() FROM blobs b
  WHERE b.fid = l.fid AND l.state = 'good' AND l.device_id = ANY ($1) AND NOT EXISTS (
    SELECT FROM held h WHERE h.fid = l.fid AND h.device_id = l.device_id AND h.size = b.size)`;

// What was to be removed and is gone.
const forgetRemoved = `DELETE FROM locations l WHERE l.state = 'removing' AND l.device_id = ANY ($1)
  AND NOT EXISTS (SELECT FROM held h WHERE h.fid = l.fid AND h.device_id = l.device_id)`;

// Replicas that were made since the backup: the journal says what they are, and it is what the blob is.
const adoptReplicas = `INSERT INTO locations (fid, device_id)
  SELECT DISTINCT h.fid, h.device_id FROM held h JOIN noted n USING (fid, device_id) JOIN blobs b ON b.fid = h.fid
    JOIN devices d ON d.id = h.device_id
  WHERE b.state = 'live' AND b.size = h.size AND b.sha256 = n.sha256 AND d.state <> 'dead'
  ON CONFLICT (fid, device_id) DO NOTHING`;

const listNewcomers = `SELECT h.fid, h.size, encode((array_agg(n.sha256 ORDER BY n.at))[1], 'hex') AS sha256,
    min(n.at)::float8 AS at, min(n.domain) AS domain, min(n.key) AS key, min(n.class) AS class,
    array_agg(DISTINCT h.device_id ORDER BY h.device_id) AS devices
  FROM held h LEFT JOIN noted n ON n.fid = h.fid AND n.device_id = h.device_id AND n.size = h.size
  WHERE NOT EXISTS (SELECT FROM blobs b WHERE b.fid = h.fid)
  GROUP BY h.fid, h.size ORDER BY min(n.at), h.fid`;

const listLost = `SELECT m.name AS domain, d.path || n.name AS key, n.fid FROM names n
    JOIN dirs d ON d.id = n.dir_id JOIN domains m ON m.id = d.domain_id JOIN blobs b ON b.fid = n.fid
  WHERE b.size > 0 AND NOT EXISTS (SELECT FROM locations l WHERE l.fid = n.fid AND l.state = 'good')
  ORDER BY m.name, d.path, n.name`;

// The scan of all blobs is due at once: it queues what is short of copies. Nothing that the backup does not know is
// ever swept away (invariant 12).
const moveOn = `UPDATE cluster SET next_fid = greatest(next_fid, $1::bigint) + ${GAP},
    sweep_from = greatest(next_fid, $1::bigint) + ${GAP}, database_identity = ${DATABASE_IDENTITY},
    scanned = '-infinity', backup_begun = now()
  RETURNING next_fid`;

/** What the comparison found, before names are given back. */
export interface Compared {
  newcomers: Newcomer[];
  /** Replicas of known blobs that are not where the backup says. */
  missing: number;
  /** Replicas of known blobs that the backup did not know yet. */
  adopted: number;
}

/** Compares, corrects the locations, and moves the cluster beyond every fid that may exist. In one transaction. */
export async function reconcile(client: pg.Client, holdings: Holding[]): Promise<Compared> {
  await client.query('BEGIN');
  await client.query(prepare);
  for (const { device, blobs, records } of holdings) {
    await fill(
      client,
      'held (device_id, fid, size)',
      lines(blobs, ({ fid, size }) => [device, fid, size]),
    );
    await fill(
      client,
      'noted (device_id, fid, size, sha256, at, domain, key, class)',
      lines(records, (one) => [
        device,
        one.fid,
        one.size,
        `\\x${one.sha256}`,
        one.at,
        one.domain,
        one.key,
        one.class,
      ]),
    );
  }
  await client.query(index);
  const devices = holdings.map(({ device }) => device);
  const missing = (await client.query(missReplicas, [devices])).rowCount ?? 0;
  await client.query(forgetRemoved, [devices]);
  const adopted = (await client.query(adoptReplicas)).rowCount ?? 0;
  const newcomers = (await client.query<Newcomer>(listNewcomers)).rows;
  const highest = Math.max(
    0,
    ...holdings.map(({ highestFid }) => highestFid),
    ...newcomers.map(({ fid }) => fid),
  );
  await client.query(moveOn, [highest]);
  await client.query('COMMIT');
  return {
    newcomers: newcomers.map((one) => ({ ...one, fid: Number(one.fid), size: Number(one.size) })),
    missing,
    adopted,
  };
}

/** Names whose blob has no good replica on record. */
export async function lostNames(client: pg.Client): Promise<Lost[]> {
  const { rows } = await client.query<Lost>(listLost);
  return rows.map((row) => ({ ...row, fid: Number(row.fid) }));
}

type Value = string | number | undefined;

/** Rows in PostgreSQL's text format for COPY. */
async function* lines<T>(items: AsyncIterable<T>, row: (item: T) => Value[]): AsyncGenerator<string> {
  for await (const item of items) yield `${row(item).map(field).join('\t')}\n`;
}

const escapes: Record<string, string> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };

function field(value: Value): string {
  if (value === undefined) return '\\N';
  return typeof value === 'number'
    ? String(value)
    : value.replaceAll(/[\\\t\n\r]/g, (one) => escapes[one] as string);
}

async function fill(client: pg.Client, target: string, rows: AsyncIterable<string>): Promise<void> {
  await pipeline(Readable.from(rows), client.query(copyFrom(`COPY ${target} FROM STDIN`)));
}
