// Scripted interleavings for the life cycle of devices (docs/consistency.md): trimming, draining, and coming back from
// the dead. As in replication.test.ts, each has a twin without the protection, which must go wrong.
import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { changeDevice, reviveDevice } from '../../tracker/cluster/machines.ts';
import type { Statement } from '../../tracker/database/database.ts';
import { addCopy, lockBlob, trim, trimCopy } from '../../tracker/replication/copies.ts';
import { forget, lockDead, lockGood, walkDeadDevice } from '../../tracker/replication/dead.ts';
import { drainsOf, readProgress } from '../../tracker/replication/drain.ts';
import { admit, admitDevice } from '../../tracker/replication/revive.ts';
import { openNamespace, type TestNamespace } from '../support/namespace.ts';
import { waitFor } from '../support/wait.ts';

let ns: TestNamespace;
let other: pg.Client;
let fid: number;
let files = 0;

beforeAll(async () => {
  ns = await openNamespace();
  other = await ns.connect();
});
afterAll(() => ns.close());

beforeEach(async () => {
  // A test that failed may have left its transaction open, with its locks.
  await other.query('ROLLBACK');
  await ns.sql(`UPDATE devices SET state = 'alive', reviving = false, accepts_until = 'infinity'`);
  await ns.sql('TRUNCATE repair, locations');
  const upload = ns.upload(`file-${++files}`);
  fid = upload.fid;
  await ns.namespace.commit(upload);
});

/** Runs one of our statements in the other session. */
const also = async (statement: Statement, values: unknown[]) =>
  (await other.query(statement.text, values)).rows;

const waits = () =>
  waitFor(
    async () => {
      const text = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
      return (await ns.sql(text)).length > 0;
    },
    { what: 'a session that waits for a lock' },
  );

/** 'device:state' of each location. */
const places = async () =>
  (
    await ns.sql<{ place: string }>(
      `SELECT device_id || ':' || state AS place FROM locations WHERE fid = $1 ORDER BY device_id`,
      [fid],
    )
  ).map(({ place }) => place);

/** A commit that saw device 3 alive, and has not ended. */
async function commitUnderWay(): Promise<void> {
  await other.query('BEGIN');
  await other.query('INSERT INTO locations (fid, device_id) VALUES ($1, 3)', [fid]);
}

describe('two trimmers of one file (7)', () => {
  const kept = (devices: number[]) => ({ devices, zones: 1, verifiedAt: ns.state.now() });
  const values = (device: number, devices: number[]) => [fid, device, devices, 2, 1, ns.state.now(), 15];

  beforeEach(async () => {
    await ns.sql('INSERT INTO locations (fid, device_id) VALUES ($1, 3)', [fid]);
  });

  it('leave as many copies as are wanted, though each has another one for the worst', async () => {
    await other.query('BEGIN');
    await also(lockBlob, [fid]);
    await also(trim, values(3, [1, 2]));
    const trimming = trimCopy(ns.db, fid, 1, kept([2, 3]));
    await waits();
    await other.query('COMMIT');
    expect(await trimming).toBe(false);
    expect(await places()).toEqual(['1:good', '2:good', '3:removing']);
  });

  it('would leave one, were the blob not locked before the count', async () => {
    await other.query('BEGIN');
    await also(trim, values(3, [1, 2]));
    await ns.db.query(trim, values(1, [2, 3]));
    await other.query('COMMIT');
    expect(await places()).toEqual(['1:removing', '2:good', '3:removing']);
  });

  it('give nothing up by an old proof, or for a copy on a device that is drained or dead', async () => {
    const old = { ...kept([1, 2]), verifiedAt: ns.state.now() - 60_000 };
    expect(await trimCopy(ns.db, fid, 3, old)).toBe(false);
    for (const state of ['drain', 'dead']) {
      await ns.sql('UPDATE devices SET state = $1 WHERE id = 2', [state]);
      expect(await trimCopy(ns.db, fid, 3, kept([1, 2]))).toBe(false);
    }
    expect(await trimCopy(ns.db, fid, 2, kept([1, 3]))).toBe(true);
    expect(await places()).toEqual(['1:good', '2:removing', '3:good']);
  });
});

describe('a drained device and a commit that began before (10, 14)', () => {
  const drainThird = () => changeDevice(ns.db, 3, { state: 'drain' }, 0);

  it('is not called empty before the commit has ended, nor after it', async () => {
    await commitUnderWay();
    await drainThird();
    expect((await drainsOf(ns.db)).get(3)?.empty).toBe(false);
    const asked = drainsOf(ns.db);
    await other.query('COMMIT');
    expect((await asked).get(3)?.empty).toBe(false);
    expect((await drainsOf(ns.db)).get(3)?.empty).toBe(false);
    await ns.sql('DELETE FROM locations WHERE device_id = 3');
    expect((await drainsOf(ns.db)).get(3)?.empty).toBe(true);
  });

  it('would be, were its rows all that is looked at', async () => {
    await commitUnderWay();
    await drainThird();
    const found = await ns.db.query(readProgress);
    await other.query('COMMIT');
    expect(found).toEqual([expect.objectContaining({ id: 3, closed: true, held: false })]);
    expect(await places()).toContain('3:good');
  });

  it('is not called empty while uploads from before may still arrive', async () => {
    await changeDevice(ns.db, 3, { state: 'drain' }, 3600);
    const drain = (await drainsOf(ns.db)).get(3);
    expect(drain).toMatchObject({ empty: false, acceptsUntil: expect.any(String) });
    await ns.namespace.commit(ns.upload(`late-${files}`, 'late', { devices: [1, 3] }));
    expect(await ns.sql('SELECT FROM locations WHERE device_id = 3')).toHaveLength(1);
  });

  it('gets nothing any more when that time is over', async () => {
    await drainThird();
    await ns.namespace.commit(ns.upload(`too-late-${files}`, 'late', { devices: [1, 2, 3] }));
    expect(await ns.sql('SELECT FROM locations WHERE device_id = 3')).toHaveLength(0);
  });
});

describe('a device that comes back from the dead (10)', () => {
  async function reviveThird(): Promise<void> {
    await ns.sql(`UPDATE devices SET state = 'dead' WHERE id = 3`);
    await reviveDevice(ns.db, 3);
  }
  const stateOfThird = async () =>
    (await ns.sql<{ state: string }>('SELECT state FROM devices WHERE id = 3'))[0]?.state;

  it('waits for a walk of the dead, which then takes nothing of what was verified since', async () => {
    await ns.sql('UPDATE blobs SET want = 3 WHERE fid = $1', [fid]);
    await reviveThird();
    await other.query('BEGIN');
    await also(lockDead, [3]);
    const admitting = admit(ns.db, 3);
    await waits();
    expect(await stateOfThird()).toBe('dead');
    await other.query('COMMIT');
    expect(await admitting).toBe(true);
    expect(await addCopy(ns.db, fid, 3, ns.state.now())).toBe('added');
    expect(await walkDeadDevice(ns.db, 3, 0)).toEqual({ queued: 0, next: undefined });
    expect(await places()).toContain('3:good');
  });

  it('would lose what was verified, did the walk not hold the device', async () => {
    await ns.sql('UPDATE blobs SET want = 3 WHERE fid = $1', [fid]);
    await reviveThird();
    await other.query('BEGIN');
    await other.query(lockDead.text.replace('FOR SHARE', ''), [3]);
    expect(await admit(ns.db, 3)).toBe(true);
    expect(await addCopy(ns.db, fid, 3, ns.state.now())).toBe('added');
    await also(lockGood, [3, 0, 1000]);
    await also(forget, [3, [fid]]);
    await other.query('COMMIT');
    expect(await places()).not.toContain('3:good');
  });

  it('stays out while a commit that saw it alive is open, and until that was given up too', async () => {
    await commitUnderWay();
    await reviveThird();
    expect(await admit(ns.db, 3)).toBe(false);
    await other.query('COMMIT');
    expect(await admit(ns.db, 3)).toBe(false);
    expect(await walkDeadDevice(ns.db, 3, 0)).toMatchObject({ queued: 1 });
    expect(await admit(ns.db, 3)).toBe(true);
    expect(await stateOfThird()).toBe('readonly');
  });

  it('would count a copy that nobody has verified, did it not wait for the commit', async () => {
    await commitUnderWay();
    await reviveThird();
    await ns.db.query(admitDevice, [3]);
    await other.query('COMMIT');
    expect(await stateOfThird()).toBe('readonly');
    expect(await places()).toContain('3:good');
  });

  it('is no plain change of its state', async () => {
    await ns.sql(`UPDATE devices SET state = 'dead' WHERE id = 3`);
    await expect(changeDevice(ns.db, 3, { state: 'alive' }, 0)).rejects.toThrow('cistern device revive 3');
    await reviveDevice(ns.db, 3);
    expect(await admit(ns.db, 3)).toBe(true);
    await expect(changeDevice(ns.db, 3, { state: 'alive' }, 0)).rejects.toThrow('is being compared');
  });
});
