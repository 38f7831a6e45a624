// Moves replicas from fuller devices to emptier ones until all are filled alike, as far as the band allows. One tracker
// at a time does it, by a lease; how far it came is in the database, so another goes on where it stopped.
import pLimit from 'p-limit';
import { delay } from '../../services/lifecycle.ts';
import type { TrackerConfig } from '../config.ts';
import type { Queryable, Statement } from '../database/database.ts';
import { type Balance, balanceOf, evens, type Level, levelsOf } from './balance.ts';
import { findMovable, mayMoveTo, moveTo } from './move.ts';
import { nameDevice, type Parts } from './parts.ts';
import { Throttle } from './throttle.ts';

const PAGE = 64;
const LEASE_SECONDS = 60;
/** So long after a move the devices' reports show it: the replica is unlinked, and heartbeats came. */
const SETTLE_MS = 15_000;
/** A device on which nothing was found to move is looked through again after so long, or when devices come or go. */
const REST_MS = 120_000;

export interface Rebalance {
  enabled: boolean;
  /** Since when data is being moved; null while the devices are within the band. */
  started: Date | null;
  finished: Date | null;
  /** Since then. */
  movedBlobs: number;
  movedBytes: number;
  /** Why nothing moves though some device is outside of the band. */
  why: string | null;
}

const read: Statement = {
  name: 'rebalance-read',
  text: `SELECT enabled, started, finished, moved_blobs AS "movedBlobs", moved_bytes AS "movedBytes", why
    FROM rebalance WHERE only_row`,
};
const enable: Statement = {
  name: 'rebalance-enable',
  text: 'UPDATE rebalance SET enabled = $1 WHERE only_row',
};
const claim: Statement = {
  name: 'rebalance-claim',
  text: `UPDATE rebalance SET lease = now() + $1 * interval '1 second', why = NULL, started = coalesce(started, now()),
      moved_blobs = CASE WHEN started IS NULL THEN 0 ELSE moved_blobs END,
      moved_bytes = CASE WHEN started IS NULL THEN 0 ELSE moved_bytes END
    WHERE enabled AND lease <= now()`,
};
const renew: Statement = {
  name: 'rebalance-renew',
  text: `UPDATE rebalance SET lease = now() + $1 * interval '1 second' WHERE enabled`,
};
const release: Statement = {
  name: 'rebalance-release',
  text: `UPDATE rebalance SET lease = '-infinity' WHERE only_row`,
};
const count: Statement = {
  name: 'rebalance-count',
  text: `UPDATE rebalance SET moved_blobs = moved_blobs + 1, moved_bytes = moved_bytes + $1 WHERE only_row`,
};
const finish: Statement = {
  name: 'rebalance-finish',
  text: `UPDATE rebalance SET started = NULL, finished = now(), why = NULL WHERE started IS NOT NULL AND lease <= now()`,
};
const explain: Statement = {
  name: 'rebalance-explain',
  text: 'UPDATE rebalance SET why = $1 WHERE why IS DISTINCT FROM $1 AND lease <= now()',
};
const nextPage: Statement = {
  name: 'rebalance-page',
  text: `SELECT l.fid, d.rebalanced_after AS after FROM devices d, LATERAL (
      SELECT fid FROM locations WHERE device_id = d.id AND fid > d.rebalanced_after AND state = 'good'
      ORDER BY fid LIMIT $2) AS l
    WHERE d.id = $1 ORDER BY l.fid`,
};
const saveCursor: Statement = {
  name: 'rebalance-cursor',
  text: 'UPDATE devices SET rebalanced_after = $2 WHERE id = $1',
};

/** What is moved, or was last. */
export async function readRebalance(db: Queryable): Promise<Rebalance> {
  const [row] = await db.query<Rebalance>(read);
  if (row === undefined) throw new Error('the table rebalance has no row');
  return row;
}

/** Moves may begin, or none from now on; those under way are finished. */
export async function enableRebalance(db: Queryable, enabled: boolean): Promise<void> {
  await db.query(enable, [enabled]);
}

type Settings = Pick<
  TrackerConfig,
  'CISTERN_REBALANCE_BAND' | 'CISTERN_REBALANCE_BYTES_PER_SECOND' | 'CISTERN_REBALANCE_MOVES'
>;

interface Move {
  from: number;
  to: number;
  bytes: number;
  /** Until then (our monotonic clock) the devices' reports may not show it. */
  until: number;
}

export class Rebalancer {
  readonly #parts: Parts;
  readonly #settings: Settings;
  readonly #atOnce: ReturnType<typeof pLimit>;
  readonly #moves = new Set<Move>();
  /** Devices whose pass began at the first replica, with how many this pass has moved. */
  readonly #passes = new Map<number, number>();
  /** Devices on which nothing can be moved, until when. */
  readonly #barren = new Map<number, number>();
  #members = '';

  constructor(parts: Parts, settings: Settings) {
    this.#settings = settings;
    this.#atOnce = pLimit(Math.max(settings.CISTERN_REBALANCE_MOVES, 1));
    const throttle = new Throttle(settings.CISTERN_REBALANCE_BYTES_PER_SECOND);
    this.#parts = { ...parts, throttle, meters: { ...parts.meters, copiedBytes: parts.meters.movedBytes } };
  }

  /** Moves one page of a device's replicas, if data is to be moved and no other tracker does. True: look again at once. */
  async step(signal: AbortSignal): Promise<boolean> {
    if (this.#settings.CISTERN_REBALANCE_MOVES === 0) return false;
    const { db } = this.#parts;
    const { enabled, started } = await readRebalance(db);
    if (!enabled) return false;
    // What has begun ends well within the band, or it would soon begin again.
    const balance = this.#balance(started === null ? 1 : 0.5);
    const giver = balance.givers.find(({ id }) => !this.#isBarren(id));
    if (balance.even || (giver === undefined && this.#balance(1).even)) {
      if (started !== null && (await db.count(finish)) > 0) this.#parts.log.info('rebalanced');
      return false;
    }
    if (giver === undefined) {
      if (balance.givers.length > 0 && balance.takers.length > 0) await this.#explain(balance);
      return false;
    }
    if (balance.takers.length === 0 || (await db.count(claim, [LEASE_SECONDS])) === 0) return false;
    return this.#holding((allowed) => this.#page(giver.id, allowed, signal));
  }

  /** Renews the lease while the work is done; `allowed` says whether an operator still wants it. */
  async #holding(work: (allowed: () => Promise<boolean>) => Promise<boolean>): Promise<boolean> {
    const { db, log } = this.#parts;
    const allowed = async () => (await db.count(renew, [LEASE_SECONDS])) > 0;
    const renewal = setInterval(
      () => void allowed().catch((err) => log.debug({ err }, 'lease not renewed')),
      (LEASE_SECONDS * 1000) / 3,
    );
    try {
      return await work(allowed);
    } finally {
      clearInterval(renewal);
      await db.query(release);
    }
  }

  async #page(giver: number, allowed: () => Promise<boolean>, signal: AbortSignal): Promise<boolean> {
    const { db, throttle } = this.#parts;
    const rows = await db.query<{ fid: number; after: number }>(nextPage, [giver, PAGE]);
    if (rows[0]?.after === 0) this.#passes.set(giver, 0);
    let reached: number | undefined;
    let enough = false;
    const look = async (fid: number) => {
      if (enough) return;
      await delay(throttle.wait(), signal);
      enough ||= signal.aborted || !this.#gives(giver) || !(await allowed());
      if (enough) return;
      reached = Math.max(reached ?? 0, fid);
      if (!(await this.#move(fid, giver, signal))) return;
      this.#passes.set(giver, (this.#passes.get(giver) ?? 0) + 1);
    };
    const looks = await Promise.allSettled(rows.map(({ fid }) => this.#atOnce(() => look(fid))));
    const failed = looks.find((one) => one.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    const ended = !enough && rows.length < PAGE;
    if (ended) this.#passEnded(giver);
    if (ended || reached !== undefined) await db.query(saveCursor, [giver, ended ? 0 : reached]);
    return !enough;
  }

  /** The next pass begins at the first replica; a whole one that moved nothing need not be made again soon. */
  #passEnded(giver: number): void {
    if (this.#passes.get(giver) === 0) this.#barren.set(giver, performance.now() + REST_MS);
    this.#passes.set(giver, 0);
  }

  /** True if the replica was moved. */
  async #move(fid: number, giver: number, signal: AbortSignal): Promise<boolean> {
    const { db, state, log } = this.#parts;
    const movable = await findMovable(this.#parts, fid, giver);
    if (movable === undefined) return false;
    const { size } = movable.survey;
    // From here to where the move is noted nothing is awaited: moves at the same time know of each other.
    const { givers, takers } = this.#balance();
    const from = givers.find(({ id }) => id === giver);
    const fits = (taker: Level) => {
      const device = state.device(taker.id);
      if (device === undefined || from === undefined || state.isSuspect(device.id)) return false;
      return evens(from, taker, size) && mayMoveTo(movable, device);
    };
    const target = state.device(takers.find(fits)?.id ?? 0);
    if (target === undefined) return false;
    const move = { from: giver, to: target.id, bytes: size, until: Number.POSITIVE_INFINITY };
    this.#moves.add(move);
    let moved = false;
    try {
      moved = await moveTo(this.#parts, movable, target, signal);
    } finally {
      if (moved) move.until = performance.now() + SETTLE_MS;
      else this.#moves.delete(move);
    }
    if (!moved) return false;
    await db.query(count, [size]);
    log.debug({ fid, size, from: giver, to: target.id }, 'moved');
    return true;
  }

  #gives(id: number): boolean {
    return this.#balance().givers.some((giver) => giver.id === id);
  }

  #balance(part = 0): Balance {
    const levels = levelsOf(this.#parts.state.devices());
    const byId = new Map(levels.map((level) => [level.id, level]));
    for (const move of this.#moves) {
      if (move.until < performance.now()) this.#moves.delete(move);
      const [from, to] = [byId.get(move.from), byId.get(move.to)];
      if (from !== undefined) from.leaving += move.bytes;
      if (to !== undefined) to.arriving += move.bytes;
    }
    this.#noticeMembers(levels);
    return balanceOf(levels, part * this.#settings.CISTERN_REBALANCE_BAND);
  }

  /** When a device comes or goes, there may be new ways. */
  #noticeMembers(levels: Level[]): void {
    const members = levels.map(({ id }) => id).join();
    if (members !== this.#members) this.#barren.clear();
    this.#members = members;
  }

  #isBarren(id: number): boolean {
    return (this.#barren.get(id) ?? 0) > performance.now();
  }

  async #explain({ givers, takers }: Balance): Promise<void> {
    const { db, state } = this.#parts;
    const names = (levels: Level[]) => levels.map(({ id }) => nameDevice(state.device(id), id)).join(', ');
    const why = `nothing on ${names(givers)} can be moved to ${names(takers)}: its files have copies on those hosts, or are too large`;
    await db.query(explain, [why]);
  }
}
