// Drained devices: how much is left on them, and whether they are empty. The moving itself is repair's: replicas on a
// drained device do not count, so copies are made elsewhere, and then these are too many (see walks.ts, trim.ts).
import { setTimeout as sleep } from 'node:timers/promises';
import type { Database, Queryable, Statement } from '../database/database.ts';

export interface Left {
  replicas: number;
  /** Bytes. */
  bytes: number;
}

const saveProgress: Statement = {
  name: 'drain-save',
  text: `WITH now AS (SELECT jsonb_build_object('replicas', $2::bigint, 'bytes', $3::bigint,
        'at', extract(epoch FROM clock_timestamp()) * 1000) AS seen)
    UPDATE devices SET drain_first = coalesce(drain_first, now.seen), drain_last = now.seen
    FROM now WHERE id = $1 AND state = 'drain'`,
};

/** Notes what a whole walk of a drained device has come across. */
export async function saveDrainProgress(db: Queryable, deviceId: number, left: Left): Promise<void> {
  await db.query(saveProgress, [deviceId, left.replicas, left.bytes]);
}

export const readProgress: Statement = {
  name: 'drain-read',
  text: `SELECT id, drain_first AS first, drain_last AS last, accepts_until <= clock_timestamp() AS closed,
      (extract(epoch FROM accepts_until) * 1000)::float8 AS "acceptsUntil",
      EXISTS (SELECT FROM locations WHERE device_id = devices.id AND state <> 'removing') AS held
    FROM devices WHERE state = 'drain'`,
};

// Whoever inserts into a table has locked it before taking the snapshot in which it sees the devices' states. Numbers of
// relations are of one database, and the view shows the locks of all.
const listWriters: Statement = {
  name: 'drain-writers',
  text: `SELECT virtualtransaction AS writer FROM pg_locks
    WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND relation = 'locations'::regclass AND mode = 'RowExclusiveLock' AND granted AND pid <> pg_backend_pid()`,
};

/** How long an answer waits for transactions that are open. Milliseconds. */
const PATIENCE_MS = 2_000;
const POLL_MS = 20;

/**
 * True when all transactions have ended that could write locations when this was called. Those that begin later see
 * every change of a device's state that was committed before the call.
 */
export async function writersEnded(db: Queryable, patienceMs = PATIENCE_MS): Promise<boolean> {
  const deadline = performance.now() + patienceMs;
  const list = async () => (await db.query<{ writer: string }>(listWriters)).map(({ writer }) => writer);
  let open = await list();
  while (open.length > 0) {
    if (performance.now() > deadline) return false;
    await sleep(POLL_MS);
    const now = await list();
    open = open.filter((writer) => now.includes(writer));
  }
  return true;
}

interface Row {
  id: number;
  first: (Left & { at: number }) | null;
  last: (Left & { at: number }) | null;
  closed: boolean;
  acceptsUntil: number;
  held: boolean;
}

export interface Drain {
  /** Nothing is on it that any file needs, and nothing can come any more. */
  empty: boolean;
  /** What the last whole walk found; null before the first one. */
  left: Left | null;
  /** When the last upload that began before the drain can still arrive, while that is in the future. */
  acceptsUntil?: string;
  /** Bytes a second since the drain began; absent before there are two walks to compare. */
  rate?: number;
  /** Seconds, by that rate. */
  secondsLeft?: number;
}

/**
 * How far each drained device is. 'empty' is said only when commits of uploads that began before the drain are refused,
 * and a look after all transactions from before that found nothing (invariant 14, hazard 10).
 */
export async function drainsOf(db: Database): Promise<Map<number, Drain>> {
  const rows = await db.query<Row>(readProgress);
  const mayBeEmpty = rows.some(({ closed, held }) => closed && !held);
  const settled = mayBeEmpty && (await writersEnded(db));
  const again = settled ? await db.query<Row>(readProgress) : rows;
  const before = new Set(rows.flatMap(({ id, closed }) => (closed ? [id] : [])));
  return new Map(again.map((row) => [row.id, drainOf(row, settled && before.has(row.id) && !row.held)]));
}

function drainOf({ first, last, closed, acceptsUntil, held }: Row, empty: boolean): Drain {
  const left = held ? last && { replicas: last.replicas, bytes: last.bytes } : { replicas: 0, bytes: 0 };
  const seconds = first === null || last === null ? 0 : (last.at - first.at) / 1000;
  const rate = first === null || last === null || seconds <= 0 ? 0 : (first.bytes - last.bytes) / seconds;
  return {
    empty,
    left,
    ...(closed ? {} : { acceptsUntil: new Date(acceptsUntil).toISOString() }),
    ...(rate > 0 && left !== null
      ? { rate: Math.round(rate), secondsLeft: Math.round(left.bytes / rate) }
      : {}),
  };
}
