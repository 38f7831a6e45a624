// Hazards 10 and 18 of docs/consistency.md: what needs a repair is never forgotten. Each runs twice: as the code does it,
// and without what protects it.
import { describe, expect, it } from 'vitest';
import { markBad, settleRepair } from '../../tracker/replication/copies.ts';
import { walkDeadDevice } from '../../tracker/replication/dead.ts';
import { claimRepairs, enqueueRepairs, finishRepair } from '../../tracker/replication/queue.ts';
import { useBlobRace } from '../support/blob-race.ts';

const race = useBlobRace();
const { waits, queued, places } = race;

describe('a dead device and a commit in flight (10)', () => {
  /** A commit that began before the device was declared dead, and ends after the walk. */
  async function commitAroundWalk(): Promise<void> {
    await race.ns.sql('DELETE FROM locations WHERE device_id = 3');
    await race.other.query('BEGIN');
    await race.other.query('INSERT INTO locations (fid, device_id) VALUES ($1, 3)', [race.fid]);
    await race.ns.sql(`UPDATE devices SET state = 'dead' WHERE id = 3`);
    expect(await walkDeadDevice(race.ns.db, 3, 0)).toEqual({ queued: 0, next: undefined });
    await race.other.query('COMMIT');
  }

  it('would be forgotten, if a walk were ever the last one', async () => {
    await commitAroundWalk();
    expect(await queued()).toBe(false);
    expect(await places()).toContain('3:good');
  });

  it('is found by the next walk', async () => {
    await commitAroundWalk();
    expect(await walkDeadDevice(race.ns.db, 3, 0)).toEqual({ queued: 1, next: undefined });
    expect(await queued()).toBe(true);
    expect(await places()).toEqual(['1:good', '2:good']);
  });
});

describe('a dead device that had the last copy', () => {
  it('stays known as its place, so that the operator learns which disk had the bytes', async () => {
    await race.ns.sql('DELETE FROM locations WHERE fid = $1 AND device_id <> 1', [race.fid]);
    await race.ns.sql(`UPDATE devices SET state = 'dead' WHERE id = 1`);
    await walkDeadDevice(race.ns.db, 1, 0);
    expect(await places()).toEqual(['1:bad']);
    expect(await queued()).toBe(true);
  });
});

describe('a need that comes while a worker finishes (18)', () => {
  const readable = [1, 2, 3];

  it('keeps the blob in the queue', async () => {
    await enqueueRepairs(race.ns.db, [race.fid]);
    const [claim] = await claimRepairs(race.ns.db, 1);
    if (claim === undefined) throw new Error('nothing was claimed');
    await markBad(race.ns.db, race.fid, 2);
    expect(await finishRepair(race.ns.db, claim)).toBe(false);
    expect(await queued()).toBe(true);
  });

  it('is waited for by a worker that has counted enough copies', async () => {
    await enqueueRepairs(race.ns.db, [race.fid]);
    const [claim] = await claimRepairs(race.ns.db, 1);
    if (claim === undefined) throw new Error('nothing was claimed');
    // The queue's row alone is held: the copies are counted before the need is seen.
    await race.other.query('BEGIN');
    await race.other.query('UPDATE repair SET version = version + 1 WHERE fid = $1', [race.fid]);
    const settling = settleRepair(race.ns.db, claim, readable);
    await waits();
    await race.other.query('COMMIT');
    expect(await settling).toBe(false);
    expect(await queued()).toBe(true);
  });

  it('would be lost, if what is queued were left as it is, or finished without its version', async () => {
    await enqueueRepairs(race.ns.db, [race.fid]);
    await claimRepairs(race.ns.db, 1);
    await race.ns.sql(`UPDATE locations SET state = 'bad' WHERE fid = $1 AND device_id = 2`, [race.fid]);
    await race.ns.sql('INSERT INTO repair (fid, copies) VALUES ($1, 1) ON CONFLICT DO NOTHING', [race.fid]);
    await race.ns.sql('DELETE FROM repair WHERE fid = $1', [race.fid]);
    expect(await queued()).toBe(false);
    expect(await places()).toContain('2:bad');
  });
});
