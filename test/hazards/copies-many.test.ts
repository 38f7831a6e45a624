// Hazards 7, 13 and 18 of docs/consistency.md, for copies that are written down, and repairs that end, many at once. Each
// runs twice: as the code does it, and without the lock that protects it.
import { describe, expect, it } from 'vitest';
import { markBad } from '../../tracker/replication/copies.ts';
import {
  addCopies,
  addLocations,
  lockBlobs as lockMany,
  settleAll,
  settleRepairs,
} from '../../tracker/replication/copies-many.ts';
import { claimRepairs, enqueueRepairs } from '../../tracker/replication/queue.ts';
import { letGo, lockBlobs } from '../../tracker/replication/reaper.ts';
import { useBlobRace } from '../support/blob-race.ts';

const race = useBlobRace();
const { also, waits, blobState, queued, places } = race;

describe('many copies at once (7, 13, 18)', () => {
  const made = (device: number, provenAt = race.ns.state.now()) => ({ fid: race.fid, device, provenAt });
  const readable = [1, 2, 3];
  async function claimed() {
    await enqueueRepairs(race.ns.db, [race.fid]);
    const claims = await claimRepairs(race.ns.db, 1);
    expect(claims).toHaveLength(1);
    return claims;
  }
  async function otherReaps(): Promise<void> {
    await race.ns.namespace.remove(race.ns.domain, race.key);
    await race.other.query('BEGIN');
    await also(lockBlobs, [[race.fid]]);
    await also(letGo, [[race.fid]]);
  }

  it('add nothing to a blob that was reaped meanwhile', async () => {
    await otherReaps();
    const adding = addCopies(race.ns.db, [made(3)]);
    await waits();
    await race.other.query('COMMIT');
    expect(await adding).toEqual([]);
    expect(await places()).not.toContain('3:good');
  });

  it('would, were the blobs not locked first', async () => {
    await race.ns.sql('UPDATE blobs SET want = 3 WHERE fid = $1', [race.fid]);
    await otherReaps();
    await race.ns.db.query(addLocations, [[race.fid], [3], [race.ns.state.now()], 15, []]);
    await race.other.query('COMMIT');
    expect(await blobState()).toBe('gone');
    expect(await places()).toContain('3:good');
  });

  it('are each judged as if it came alone', async () => {
    // Nothing is missing; an old proof; a dead device; a row in the way; two where one is missing.
    expect(await addCopies(race.ns.db, [made(3)])).toEqual([]);
    expect(await places()).toEqual(['1:good', '2:good', '3:removing']);
    expect(await addCopies(race.ns.db, [made(3)])).toEqual([]);
    await race.ns.sql('DELETE FROM locations WHERE fid = $1 AND device_id = 3', [race.fid]);
    await race.ns.sql('UPDATE blobs SET want = 3 WHERE fid = $1', [race.fid]);
    expect(await addCopies(race.ns.db, [made(3, race.ns.state.now() - 60_000)])).toEqual([]);
    await race.ns.sql(`UPDATE devices SET state = 'dead' WHERE id = 3`);
    expect(await addCopies(race.ns.db, [made(3)])).toEqual([]);
    await race.ns.sql(`UPDATE devices SET state = 'alive' WHERE id = 3`);
    await race.ns.sql('DELETE FROM locations WHERE fid = $1 AND device_id <> 1', [race.fid]);
    await race.ns.sql('UPDATE blobs SET want = 2 WHERE fid = $1', [race.fid]);
    expect(await addCopies(race.ns.db, [made(2), made(3)])).toEqual([race.fid]);
    expect(await places()).toEqual(['1:good', '2:good', '3:removing']);
  });

  it('settle what has exactly its copies, and nothing that got a new need', async () => {
    const claims = await claimed();
    await markBad(race.ns.db, race.fid, 2);
    expect(await settleRepairs(race.ns.db, claims, readable)).toEqual(new Set());
    expect(await addCopies(race.ns.db, [made(3)])).toEqual([race.fid]);
    expect(await settleRepairs(race.ns.db, claims, readable)).toEqual(new Set());
    await race.ns.sql(`UPDATE repair SET leased_until = '-infinity'`);
    const again = await claimRepairs(race.ns.db, 1);
    expect(await settleRepairs(race.ns.db, again, [1])).toEqual(new Set());
    expect(await settleRepairs(race.ns.db, again, readable)).toEqual(new Set([race.fid]));
    expect(await places()).toEqual(['1:good', '2:removing', '3:good']);
    expect(await queued()).toBe(false);
  });

  it('leave what has too many to a closer look', async () => {
    // The third one leaves: it has to be given up before the repair is over.
    await race.ns.sql('INSERT INTO locations (fid, device_id) VALUES ($1, 3)', [race.fid]);
    await race.ns.sql(`UPDATE devices SET state = 'drain' WHERE id = 3`);
    expect(await settleRepairs(race.ns.db, await claimed(), readable)).toEqual(new Set());
    expect(await queued()).toBe(true);
  });

  /** The other session has found a copy bad; its need was queued before the claim. */
  async function copyTurnsBad(): Promise<void> {
    await race.other.query('BEGIN');
    await race.other.query('SELECT FROM blobs WHERE fid = $1 FOR UPDATE', [race.fid]);
    await race.other.query(`UPDATE locations SET state = 'bad' WHERE fid = $1 AND device_id = 2`, [race.fid]);
  }

  it('do not settle on a copy that is just turning bad', async () => {
    const claims = await claimed();
    await copyTurnsBad();
    const settling = settleRepairs(race.ns.db, claims, readable);
    await waits();
    await race.other.query('COMMIT');
    expect(await settling).toEqual(new Set());
    expect(await queued()).toBe(true);
  });

  it('would, were the blobs locked and counted in one look', async () => {
    const [claim] = await claimed();
    await copyTurnsBad();
    await race.ns.db.query(settleAll, [[race.fid], [claim?.version], readable]);
    await race.other.query('COMMIT');
    expect(await queued()).toBe(false);
    expect(await places()).toContain('2:bad');
  });

  it('lock blobs in one order, so that crossed batches do not deadlock', async () => {
    const second = race.ns.upload(`${race.key}-second`);
    await race.ns.namespace.commit(second);
    await race.other.query('BEGIN');
    await race.other.query('SELECT FROM blobs WHERE fid = $1 FOR UPDATE', [race.fid]);
    const proof = race.ns.state.now();
    const adding = addCopies(race.ns.db, [
      { fid: second.fid, device: 3, provenAt: proof },
      { fid: race.fid, device: 3, provenAt: proof },
    ]);
    await waits();
    // Were the second locked by now, this would be a deadlock.
    expect(await also(lockMany, [[second.fid]])).toHaveLength(1);
    await race.other.query('COMMIT');
    expect(await adding).toEqual([]);
  });
});
