// Scripted interleavings of two sessions, for the hazards of docs/consistency.md that concern replication. Each runs
// twice: as the code does it, and without the lock or check that protects it; the second run must go wrong, which
// proves that the interleaving is the dangerous one and that the first would notice if the protection were lost.
import { describe, expect, it } from 'vitest';
import { addCopy, addLocation, clearBad, clearBadCopy } from '../../tracker/replication/copies.ts';
import { enqueueRepairs } from '../../tracker/replication/queue.ts';
import { letGo, lockBlobs, reap } from '../../tracker/replication/reaper.ts';
import { scan, setWant } from '../../tracker/replication/scan.ts';
import { removeUnknown } from '../../tracker/replication/sweep.ts';
import { nameIt, useBlobRace } from '../support/blob-race.ts';
import type { TestNamespace } from '../support/namespace.ts';

const race = useBlobRace();
const { also, waits, blobState, queued, places } = race;

const want = async () =>
  (await race.ns.sql<{ want: number }>('SELECT want FROM blobs WHERE fid = $1', [race.fid]))[0]?.want;

describe('copy or undelete against the reaper (6)', () => {
  /** The other session has found the blob alive and is about to name it; its last name goes meanwhile. */
  async function copyUnderWay(): Promise<void> {
    await race.other.query('BEGIN');
    await race.other.query(`SELECT fid FROM blobs WHERE fid = $1 AND state = 'live' FOR KEY SHARE`, [
      race.fid,
    ]);
    await race.ns.namespace.remove(race.ns.domain, race.key);
  }

  it('leaves a blob alone that is being named', async () => {
    await copyUnderWay();
    const reaping = reap(race.ns.db, 0);
    await waits();
    await race.other.query(nameIt, [`${race.key}-copy`, race.fid, 'default']);
    await race.other.query('COMMIT');
    expect(await reaping).toMatchObject({ looked: 1, gone: 0 });
    expect(await blobState()).toBe('live');
    expect(await places()).toEqual(['1:good', '2:good']);
  });

  it('would let it go, were the blob not locked first', async () => {
    await copyUnderWay();
    await race.ns.db.query(letGo, [[race.fid]]);
    await race.other.query(nameIt, [`${race.key}-copy`, race.fid, 'default']);
    await race.other.query('COMMIT');
    expect(await blobState()).toBe('gone');
  });

  it('reaps what nothing names, replicas and queue with it', async () => {
    await race.ns.namespace.remove(race.ns.domain, race.key);
    await enqueueRepairs(race.ns.db, [race.fid]);
    expect(await reap(race.ns.db, 3600)).toMatchObject({ looked: 0 });
    expect(await reap(race.ns.db, 0)).toMatchObject({ looked: 1, gone: 1 });
    expect(await blobState()).toBe('gone');
    expect(await places()).toEqual(['1:removing', '2:removing']);
    expect(await queued()).toBe(false);
  });
});

describe('the late answer of a copier (13)', () => {
  it('adds nothing to a blob that was reaped meanwhile', async () => {
    await race.ns.namespace.remove(race.ns.domain, race.key);
    await race.other.query('BEGIN');
    await also(lockBlobs, [[race.fid]]);
    await also(letGo, [[race.fid]]);
    const adding = addCopy(race.ns.db, race.fid, 3, race.ns.state.now());
    await waits();
    await race.other.query('COMMIT');
    expect(await adding).toBe('not-live');
    expect(await places()).not.toContain('3:good');
  });

  it('would add a replica that nobody ever removes, were the blob not locked', async () => {
    await race.ns.namespace.remove(race.ns.domain, race.key);
    await race.other.query('BEGIN');
    await also(lockBlobs, [[race.fid]]);
    await also(letGo, [[race.fid]]);
    const alive = await race.ns.sql(`SELECT FROM blobs WHERE fid = $1 AND state = 'live'`, [race.fid]);
    await race.other.query('COMMIT');
    expect(alive).toHaveLength(1);
    await race.ns.db.query(addLocation, [race.fid, 3, 3, race.ns.state.now(), 15, [], false]);
    expect(await blobState()).toBe('gone');
    expect(await places()).toContain('3:good');
  });

  it('adds nothing by a proof that is old, on a dead device, or over a replica that is being removed', async () => {
    await race.ns.sql('UPDATE blobs SET want = 3 WHERE fid = $1', [race.fid]);
    expect(await addCopy(race.ns.db, race.fid, 3, race.ns.state.now() - 60_000)).toBe('refused');
    await race.ns.sql(`UPDATE devices SET state = 'dead' WHERE id = 3`);
    expect(await addCopy(race.ns.db, race.fid, 3, race.ns.state.now())).toBe('refused');
    await race.ns.sql(`UPDATE devices SET state = 'alive' WHERE id = 3`);
    await race.ns.sql(`INSERT INTO locations (fid, device_id, state) VALUES ($1, 3, 'removing')`, [race.fid]);
    expect(await addCopy(race.ns.db, race.fid, 3, race.ns.state.now())).toBe('refused');
    expect(await places()).toEqual(['1:good', '2:good', '3:removing']);
    await race.ns.sql('DELETE FROM locations WHERE fid = $1 AND device_id = 3', [race.fid]);
    expect(await addCopy(race.ns.db, race.fid, 3, race.ns.state.now())).toBe('added');
  });

  it('gives up a copy that others were faster to make', async () => {
    expect(await addCopy(race.ns.db, race.fid, 3, race.ns.state.now())).toBe('surplus');
    expect(await places()).toEqual(['1:good', '2:good', '3:removing']);
  });
});

describe('giving up a bad replica while another turns bad (7)', () => {
  async function otherTurnsBad(): Promise<void> {
    await race.ns.sql(`UPDATE locations SET state = 'bad' WHERE fid = $1 AND device_id = 2`, [race.fid]);
    await race.other.query('BEGIN');
    await race.other.query('SELECT FROM blobs WHERE fid = $1 FOR UPDATE', [race.fid]);
    await race.other.query(`UPDATE locations SET state = 'bad' WHERE fid = $1 AND device_id = 1`, [race.fid]);
  }

  it('keeps the last copies, though they are bad', async () => {
    await otherTurnsBad();
    const clearing = clearBadCopy(race.ns.db, race.fid, 2, 1);
    await waits();
    await race.other.query('COMMIT');
    expect(await clearing).toBe(false);
    expect(await places()).toEqual(['1:bad', '2:bad']);
  });

  it('would remove one of them, were the blob not locked before the count', async () => {
    await otherTurnsBad();
    await race.ns.db.query(clearBad, [race.fid, 2, 1]);
    await race.other.query('COMMIT');
    expect(await places()).toEqual(['1:bad', '2:removing']);
  });
});

describe('the sweep and a late commit (3)', () => {
  let late: ReturnType<TestNamespace['upload']>;
  /** The other session has sent a commit that is not done; the sweep has found its bytes and knows no such fid. */
  async function commitUnderWay(): Promise<void> {
    late = race.ns.upload(`late-${race.key}`);
    race.fid = late.fid;
    await race.other.query('BEGIN');
    await race.other.query(
      `INSERT INTO blobs (fid, state, want, size, sha256, created) VALUES ($1, 'live', 2, 1, '', true)`,
      [race.fid],
    );
    await race.other.query('INSERT INTO locations (fid, device_id) VALUES ($1, 1), ($1, 2)', [race.fid]);
  }

  it('lets the commit win that came first', async () => {
    await commitUnderWay();
    const sweeping = removeUnknown(race.ns.db, 1, [race.fid], []);
    await waits();
    await race.other.query('COMMIT');
    expect(await sweeping).toBe(0);
    expect(await places()).toEqual(['1:good', '2:good']);
  });

  it('makes the commit fail that comes later', async () => {
    late = race.ns.upload(`late-${race.key}`);
    race.fid = late.fid;
    expect(await removeUnknown(race.ns.db, 1, [race.fid], [])).toBe(1);
    await expect(race.ns.namespace.commit(late)).rejects.toMatchObject({ problem: 'upload-void' });
    expect(await places()).toEqual(['1:removing']);
  });

  it('would remove what the commit acknowledged, if it went by what it had read', async () => {
    await commitUnderWay();
    const known = await race.ns.sql('SELECT FROM blobs WHERE fid = $1', [race.fid]);
    await race.other.query('COMMIT');
    expect(known).toHaveLength(0);
    await race.ns.sql(
      `INSERT INTO locations (fid, device_id, state) VALUES ($1, 1, 'removing')
       ON CONFLICT (fid, device_id) DO UPDATE SET state = 'removing'`,
      [race.fid],
    );
    expect(await blobState()).toBe('live');
    expect(await places()).toEqual(['1:removing', '2:good']);
  });
});

describe('a scan that lowers what a blob wants, and a copy into a stricter class (16)', () => {
  const all = { limit: 10_000, readable: [1, 2, 3], zones: 1 };
  /** The blob wants three from a name that it has lost; the other session is giving it such a name again. */
  async function copyUnderWay(): Promise<void> {
    await race.ns.sql('UPDATE blobs SET want = 3 WHERE fid = $1', [race.fid]);
    await race.other.query('BEGIN');
    await race.other.query(`SELECT fid FROM blobs WHERE fid = $1 AND state = 'live' FOR KEY SHARE`, [
      race.fid,
    ]);
    await race.other.query(nameIt, [`${race.key}-copy`, race.fid, 'three']);
  }

  it('does not lower it below what the new name wants', async () => {
    await copyUnderWay();
    const scanning = scan(race.ns.db, { after: race.fid - 1, ...all });
    await waits();
    await race.other.query('COMMIT');
    await scanning;
    expect(await want()).toBe(3);
    expect((await scan(race.ns.db, { after: race.fid - 1, ...all })).queued).toBe(1);
  });

  it('would, were the blob not locked first', async () => {
    await copyUnderWay();
    await race.ns.db.query(setWant, [[race.fid]]);
    await race.other.query('COMMIT');
    expect(await want()).toBe(2);
  });
});
