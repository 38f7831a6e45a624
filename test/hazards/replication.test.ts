// Scripted interleavings of two sessions, for the hazards of docs/consistency.md that concern replication. Each runs
// twice: as the code does it, and without the lock or check that protects it; the second run must go wrong, which
// proves that the interleaving is the dangerous one and that the first would notice if the protection were lost.
import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Statement } from '../../tracker/database/database.ts';
import {
  addCopy,
  addLocation,
  clearBad,
  clearBadCopy,
  markBad,
  settleRepair,
} from '../../tracker/replication/copies.ts';
import {
  addCopies,
  addLocations,
  lockBlobs as lockMany,
  settleAll,
  settleRepairs,
} from '../../tracker/replication/copies-many.ts';
import { walkDeadDevice } from '../../tracker/replication/dead.ts';
import { claimRepairs, enqueueRepairs, finishRepair } from '../../tracker/replication/queue.ts';
import { letGo, lockBlobs, reap } from '../../tracker/replication/reaper.ts';
import { scan, setWant } from '../../tracker/replication/scan.ts';
import { removeUnknown } from '../../tracker/replication/sweep.ts';
import { openNamespace, type TestNamespace } from '../support/namespace.ts';
import { waitFor } from '../support/wait.ts';

let ns: TestNamespace;
let other: pg.Client;
let files = 0;

beforeAll(async () => {
  ns = await openNamespace();
  other = await ns.connect();
  await ns.sql(`UPDATE classes SET trash = false`);
  await ns.sql(
    `INSERT INTO classes (domain_id, name, copies, min_copies) SELECT id, 'three', 3, 2 FROM domains`,
  );
  await ns.state.refresh();
});
afterAll(() => ns.close());

let key: string;
let fid: number;
beforeEach(async () => {
  await ns.sql(`UPDATE devices SET state = 'alive'`);
  await ns.sql('TRUNCATE repair, reap');
  key = `file-${++files}`;
  const upload = ns.upload(key);
  fid = upload.fid;
  await ns.namespace.commit(upload);
});

/** Runs one of our statements in the other session. */
const also = async (statement: Statement, values: unknown[]) =>
  (await other.query(statement.text, values)).rows;

/** Resolves when a session waits for a lock: the interleaving has reached the point where it must wait. */
const waits = () =>
  waitFor(
    async () => {
      const text = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
      return (await ns.sql(text)).length > 0;
    },
    { what: 'a session that waits for a lock' },
  );

const blobState = async () =>
  (await ns.sql<{ state: string }>('SELECT state FROM blobs WHERE fid = $1', [fid]))[0]?.state;
const want = async () =>
  (await ns.sql<{ want: number }>('SELECT want FROM blobs WHERE fid = $1', [fid]))[0]?.want;
const queued = async () => (await ns.sql('SELECT FROM repair WHERE fid = $1', [fid])).length > 0;
/** 'device:state' of each location. */
const places = async () =>
  (
    await ns.sql<{ place: string }>(
      `SELECT device_id || ':' || state AS place FROM locations WHERE fid = $1 ORDER BY device_id`,
      [fid],
    )
  ).map(({ place }) => place);

const nameIt = `INSERT INTO names (dir_id, name, fid, class_id)
  SELECT d.id, $1, $2, c.id FROM dirs d JOIN classes c ON c.domain_id = d.domain_id
  WHERE d.path = '' AND c.name = $3`;

describe('copy or undelete against the reaper (6)', () => {
  /** The other session has found the blob alive and is about to name it; its last name goes meanwhile. */
  async function copyUnderWay(): Promise<void> {
    await other.query('BEGIN');
    await other.query(`SELECT fid FROM blobs WHERE fid = $1 AND state = 'live' FOR KEY SHARE`, [fid]);
    await ns.namespace.remove(ns.domain, key);
  }

  it('leaves a blob alone that is being named', async () => {
    await copyUnderWay();
    const reaping = reap(ns.db, 0);
    await waits();
    await other.query(nameIt, [`${key}-copy`, fid, 'default']);
    await other.query('COMMIT');
    expect(await reaping).toMatchObject({ looked: 1, gone: 0 });
    expect(await blobState()).toBe('live');
    expect(await places()).toEqual(['1:good', '2:good']);
  });

  it('would let it go, were the blob not locked first', async () => {
    await copyUnderWay();
    await ns.db.query(letGo, [[fid]]);
    await other.query(nameIt, [`${key}-copy`, fid, 'default']);
    await other.query('COMMIT');
    expect(await blobState()).toBe('gone');
  });

  it('reaps what nothing names, replicas and queue with it', async () => {
    await ns.namespace.remove(ns.domain, key);
    await enqueueRepairs(ns.db, [fid]);
    expect(await reap(ns.db, 3600)).toMatchObject({ looked: 0 });
    expect(await reap(ns.db, 0)).toMatchObject({ looked: 1, gone: 1 });
    expect(await blobState()).toBe('gone');
    expect(await places()).toEqual(['1:removing', '2:removing']);
    expect(await queued()).toBe(false);
  });
});

describe('the late answer of a copier (13)', () => {
  it('adds nothing to a blob that was reaped meanwhile', async () => {
    await ns.namespace.remove(ns.domain, key);
    await other.query('BEGIN');
    await also(lockBlobs, [[fid]]);
    await also(letGo, [[fid]]);
    const adding = addCopy(ns.db, fid, 3, ns.state.now());
    await waits();
    await other.query('COMMIT');
    expect(await adding).toBe('not-live');
    expect(await places()).not.toContain('3:good');
  });

  it('would add a replica that nobody ever removes, were the blob not locked', async () => {
    await ns.namespace.remove(ns.domain, key);
    await other.query('BEGIN');
    await also(lockBlobs, [[fid]]);
    await also(letGo, [[fid]]);
    const alive = await ns.sql(`SELECT FROM blobs WHERE fid = $1 AND state = 'live'`, [fid]);
    await other.query('COMMIT');
    expect(alive).toHaveLength(1);
    await ns.db.query(addLocation, [fid, 3, 3, ns.state.now(), 15, [], false]);
    expect(await blobState()).toBe('gone');
    expect(await places()).toContain('3:good');
  });

  it('adds nothing by a proof that is old, on a dead device, or over a replica that is being removed', async () => {
    await ns.sql('UPDATE blobs SET want = 3 WHERE fid = $1', [fid]);
    expect(await addCopy(ns.db, fid, 3, ns.state.now() - 60_000)).toBe('refused');
    await ns.sql(`UPDATE devices SET state = 'dead' WHERE id = 3`);
    expect(await addCopy(ns.db, fid, 3, ns.state.now())).toBe('refused');
    await ns.sql(`UPDATE devices SET state = 'alive' WHERE id = 3`);
    await ns.sql(`INSERT INTO locations (fid, device_id, state) VALUES ($1, 3, 'removing')`, [fid]);
    expect(await addCopy(ns.db, fid, 3, ns.state.now())).toBe('refused');
    expect(await places()).toEqual(['1:good', '2:good', '3:removing']);
    await ns.sql('DELETE FROM locations WHERE fid = $1 AND device_id = 3', [fid]);
    expect(await addCopy(ns.db, fid, 3, ns.state.now())).toBe('added');
  });

  it('gives up a copy that others were faster to make', async () => {
    expect(await addCopy(ns.db, fid, 3, ns.state.now())).toBe('surplus');
    expect(await places()).toEqual(['1:good', '2:good', '3:removing']);
  });
});

describe('many copies at once (7, 13, 18)', () => {
  const made = (device: number, provenAt = ns.state.now()) => ({ fid, device, provenAt });
  const readable = [1, 2, 3];
  async function claimed() {
    await enqueueRepairs(ns.db, [fid]);
    const claims = await claimRepairs(ns.db, 1);
    expect(claims).toHaveLength(1);
    return claims;
  }
  async function otherReaps(): Promise<void> {
    await ns.namespace.remove(ns.domain, key);
    await other.query('BEGIN');
    await also(lockBlobs, [[fid]]);
    await also(letGo, [[fid]]);
  }

  it('add nothing to a blob that was reaped meanwhile', async () => {
    await otherReaps();
    const adding = addCopies(ns.db, [made(3)]);
    await waits();
    await other.query('COMMIT');
    expect(await adding).toEqual([]);
    expect(await places()).not.toContain('3:good');
  });

  it('would, were the blobs not locked first', async () => {
    await ns.sql('UPDATE blobs SET want = 3 WHERE fid = $1', [fid]);
    await otherReaps();
    await ns.db.query(addLocations, [[fid], [3], [ns.state.now()], 15, []]);
    await other.query('COMMIT');
    expect(await blobState()).toBe('gone');
    expect(await places()).toContain('3:good');
  });

  it('are each judged as if it came alone', async () => {
    // Nothing is missing; an old proof; a dead device; a row in the way; two where one is missing.
    expect(await addCopies(ns.db, [made(3)])).toEqual([]);
    expect(await places()).toEqual(['1:good', '2:good', '3:removing']);
    expect(await addCopies(ns.db, [made(3)])).toEqual([]);
    await ns.sql('DELETE FROM locations WHERE fid = $1 AND device_id = 3', [fid]);
    await ns.sql('UPDATE blobs SET want = 3 WHERE fid = $1', [fid]);
    expect(await addCopies(ns.db, [made(3, ns.state.now() - 60_000)])).toEqual([]);
    await ns.sql(`UPDATE devices SET state = 'dead' WHERE id = 3`);
    expect(await addCopies(ns.db, [made(3)])).toEqual([]);
    await ns.sql(`UPDATE devices SET state = 'alive' WHERE id = 3`);
    await ns.sql('DELETE FROM locations WHERE fid = $1 AND device_id <> 1', [fid]);
    await ns.sql('UPDATE blobs SET want = 2 WHERE fid = $1', [fid]);
    expect(await addCopies(ns.db, [made(2), made(3)])).toEqual([fid]);
    expect(await places()).toEqual(['1:good', '2:good', '3:removing']);
  });

  it('settle what has exactly its copies, and nothing that got a new need', async () => {
    const claims = await claimed();
    await markBad(ns.db, fid, 2);
    expect(await settleRepairs(ns.db, claims, readable)).toEqual(new Set());
    expect(await addCopies(ns.db, [made(3)])).toEqual([fid]);
    expect(await settleRepairs(ns.db, claims, readable)).toEqual(new Set());
    await ns.sql(`UPDATE repair SET leased_until = '-infinity'`);
    const again = await claimRepairs(ns.db, 1);
    expect(await settleRepairs(ns.db, again, [1])).toEqual(new Set());
    expect(await settleRepairs(ns.db, again, readable)).toEqual(new Set([fid]));
    expect(await places()).toEqual(['1:good', '2:removing', '3:good']);
    expect(await queued()).toBe(false);
  });

  it('leave what has too many to a closer look', async () => {
    // The third one leaves: it has to be given up before the repair is over.
    await ns.sql('INSERT INTO locations (fid, device_id) VALUES ($1, 3)', [fid]);
    await ns.sql(`UPDATE devices SET state = 'drain' WHERE id = 3`);
    expect(await settleRepairs(ns.db, await claimed(), readable)).toEqual(new Set());
    expect(await queued()).toBe(true);
  });

  /** The other session has found a copy bad; its need was queued before the claim. */
  async function copyTurnsBad(): Promise<void> {
    await other.query('BEGIN');
    await other.query('SELECT FROM blobs WHERE fid = $1 FOR UPDATE', [fid]);
    await other.query(`UPDATE locations SET state = 'bad' WHERE fid = $1 AND device_id = 2`, [fid]);
  }

  it('do not settle on a copy that is just turning bad', async () => {
    const claims = await claimed();
    await copyTurnsBad();
    const settling = settleRepairs(ns.db, claims, readable);
    await waits();
    await other.query('COMMIT');
    expect(await settling).toEqual(new Set());
    expect(await queued()).toBe(true);
  });

  it('would, were the blobs locked and counted in one look', async () => {
    const [claim] = await claimed();
    await copyTurnsBad();
    await ns.db.query(settleAll, [[fid], [claim?.version], readable]);
    await other.query('COMMIT');
    expect(await queued()).toBe(false);
    expect(await places()).toContain('2:bad');
  });

  it('lock blobs in one order, so that crossed batches do not deadlock', async () => {
    const second = ns.upload(`${key}-second`);
    await ns.namespace.commit(second);
    await other.query('BEGIN');
    await other.query('SELECT FROM blobs WHERE fid = $1 FOR UPDATE', [fid]);
    const proof = ns.state.now();
    const adding = addCopies(ns.db, [
      { fid: second.fid, device: 3, provenAt: proof },
      { fid, device: 3, provenAt: proof },
    ]);
    await waits();
    // Were the second locked by now, this would be a deadlock.
    expect(await also(lockMany, [[second.fid]])).toHaveLength(1);
    await other.query('COMMIT');
    expect(await adding).toEqual([]);
  });
});

describe('giving up a bad replica while another turns bad (7)', () => {
  async function otherTurnsBad(): Promise<void> {
    await ns.sql(`UPDATE locations SET state = 'bad' WHERE fid = $1 AND device_id = 2`, [fid]);
    await other.query('BEGIN');
    await other.query('SELECT FROM blobs WHERE fid = $1 FOR UPDATE', [fid]);
    await other.query(`UPDATE locations SET state = 'bad' WHERE fid = $1 AND device_id = 1`, [fid]);
  }

  it('keeps the last copies, though they are bad', async () => {
    await otherTurnsBad();
    const clearing = clearBadCopy(ns.db, fid, 2, 1);
    await waits();
    await other.query('COMMIT');
    expect(await clearing).toBe(false);
    expect(await places()).toEqual(['1:bad', '2:bad']);
  });

  it('would remove one of them, were the blob not locked before the count', async () => {
    await otherTurnsBad();
    await ns.db.query(clearBad, [fid, 2, 1]);
    await other.query('COMMIT');
    expect(await places()).toEqual(['1:bad', '2:removing']);
  });
});

describe('a dead device and a commit in flight (10)', () => {
  /** A commit that began before the device was declared dead, and ends after the walk. */
  async function commitAroundWalk(): Promise<void> {
    await ns.sql('DELETE FROM locations WHERE device_id = 3');
    await other.query('BEGIN');
    await other.query('INSERT INTO locations (fid, device_id) VALUES ($1, 3)', [fid]);
    await ns.sql(`UPDATE devices SET state = 'dead' WHERE id = 3`);
    expect(await walkDeadDevice(ns.db, 3, 0)).toEqual({ queued: 0, next: undefined });
    await other.query('COMMIT');
  }

  it('would be forgotten, if a walk were ever the last one', async () => {
    await commitAroundWalk();
    expect(await queued()).toBe(false);
    expect(await places()).toContain('3:good');
  });

  it('is found by the next walk', async () => {
    await commitAroundWalk();
    expect(await walkDeadDevice(ns.db, 3, 0)).toEqual({ queued: 1, next: undefined });
    expect(await queued()).toBe(true);
    expect(await places()).toEqual(['1:good', '2:good']);
  });
});

describe('a dead device that had the last copy', () => {
  it('stays known as its place, so that the operator learns which disk had the bytes', async () => {
    await ns.sql('DELETE FROM locations WHERE fid = $1 AND device_id <> 1', [fid]);
    await ns.sql(`UPDATE devices SET state = 'dead' WHERE id = 1`);
    await walkDeadDevice(ns.db, 1, 0);
    expect(await places()).toEqual(['1:bad']);
    expect(await queued()).toBe(true);
  });
});

describe('a need that comes while a worker finishes (18)', () => {
  const readable = [1, 2, 3];

  it('keeps the blob in the queue', async () => {
    await enqueueRepairs(ns.db, [fid]);
    const [claim] = await claimRepairs(ns.db, 1);
    if (claim === undefined) throw new Error('nothing was claimed');
    await markBad(ns.db, fid, 2);
    expect(await finishRepair(ns.db, claim)).toBe(false);
    expect(await queued()).toBe(true);
  });

  it('is waited for by a worker that has counted enough copies', async () => {
    await enqueueRepairs(ns.db, [fid]);
    const [claim] = await claimRepairs(ns.db, 1);
    if (claim === undefined) throw new Error('nothing was claimed');
    // The queue's row alone is held: the copies are counted before the need is seen.
    await other.query('BEGIN');
    await other.query('UPDATE repair SET version = version + 1 WHERE fid = $1', [fid]);
    const settling = settleRepair(ns.db, claim, readable);
    await waits();
    await other.query('COMMIT');
    expect(await settling).toBe(false);
    expect(await queued()).toBe(true);
  });

  it('would be lost, if what is queued were left as it is, or finished without its version', async () => {
    await enqueueRepairs(ns.db, [fid]);
    await claimRepairs(ns.db, 1);
    await ns.sql(`UPDATE locations SET state = 'bad' WHERE fid = $1 AND device_id = 2`, [fid]);
    await ns.sql('INSERT INTO repair (fid, copies) VALUES ($1, 1) ON CONFLICT DO NOTHING', [fid]);
    await ns.sql('DELETE FROM repair WHERE fid = $1', [fid]);
    expect(await queued()).toBe(false);
    expect(await places()).toContain('2:bad');
  });
});

describe('the sweep and a late commit (3)', () => {
  let late: ReturnType<TestNamespace['upload']>;
  /** The other session has sent a commit that is not done; the sweep has found its bytes and knows no such fid. */
  async function commitUnderWay(): Promise<void> {
    late = ns.upload(`late-${key}`);
    fid = late.fid;
    await other.query('BEGIN');
    await other.query(
      `INSERT INTO blobs (fid, state, want, size, sha256, created) VALUES ($1, 'live', 2, 1, '', true)`,
      [fid],
    );
    await other.query('INSERT INTO locations (fid, device_id) VALUES ($1, 1), ($1, 2)', [fid]);
  }

  it('lets the commit win that came first', async () => {
    await commitUnderWay();
    const sweeping = removeUnknown(ns.db, 1, [fid], []);
    await waits();
    await other.query('COMMIT');
    expect(await sweeping).toBe(0);
    expect(await places()).toEqual(['1:good', '2:good']);
  });

  it('makes the commit fail that comes later', async () => {
    late = ns.upload(`late-${key}`);
    fid = late.fid;
    expect(await removeUnknown(ns.db, 1, [fid], [])).toBe(1);
    await expect(ns.namespace.commit(late)).rejects.toMatchObject({ problem: 'upload-void' });
    expect(await places()).toEqual(['1:removing']);
  });

  it('would remove what the commit acknowledged, if it went by what it had read', async () => {
    await commitUnderWay();
    const known = await ns.sql('SELECT FROM blobs WHERE fid = $1', [fid]);
    await other.query('COMMIT');
    expect(known).toHaveLength(0);
    await ns.sql(
      `INSERT INTO locations (fid, device_id, state) VALUES ($1, 1, 'removing')
       ON CONFLICT (fid, device_id) DO UPDATE SET state = 'removing'`,
      [fid],
    );
    expect(await blobState()).toBe('live');
    expect(await places()).toEqual(['1:removing', '2:good']);
  });
});

describe('a scan that lowers what a blob wants, and a copy into a stricter class (16)', () => {
  const all = { limit: 10_000, readable: [1, 2, 3], zones: 1 };
  /** The blob wants three from a name that it has lost; the other session is giving it such a name again. */
  async function copyUnderWay(): Promise<void> {
    await ns.sql('UPDATE blobs SET want = 3 WHERE fid = $1', [fid]);
    await other.query('BEGIN');
    await other.query(`SELECT fid FROM blobs WHERE fid = $1 AND state = 'live' FOR KEY SHARE`, [fid]);
    await other.query(nameIt, [`${key}-copy`, fid, 'three']);
  }

  it('does not lower it below what the new name wants', async () => {
    await copyUnderWay();
    const scanning = scan(ns.db, { after: fid - 1, ...all });
    await waits();
    await other.query('COMMIT');
    await scanning;
    expect(await want()).toBe(3);
    expect((await scan(ns.db, { after: fid - 1, ...all })).queued).toBe(1);
  });

  it('would, were the blob not locked first', async () => {
    await copyUnderWay();
    await ns.db.query(setWant, [[fid]]);
    await other.query('COMMIT');
    expect(await want()).toBe(2);
  });
});
