// The repair queue on a real PostgreSQL: who gets which row, when, and what the queue tells operators.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openNamespace, type TestNamespace } from '../../test/support/namespace.ts';
import {
  type Claim,
  claimRepairs,
  enqueueRepairs,
  finishRepair,
  hurryRepairs,
  postponeRepair,
  renewLeases,
} from './queue.ts';
import { queuedFiles, repairSummary, stuckRepairs } from './summary.ts';

let ns: TestNamespace;
beforeAll(async () => {
  ns = await openNamespace();
});
afterAll(() => ns.close());
beforeEach(() => ns.sql('TRUNCATE repair, locations, names, trash, reap, blobs CASCADE'));

const fidsOf = (claims: { fid: number }[]) => claims.map(({ fid }) => fid).sort((a, b) => a - b);
const queue = (rows: string) => ns.sql(`INSERT INTO repair (fid, copies, next_try) VALUES ${rows}`);

describe('claimRepairs', () => {
  it('gives the fewest copies first, and passes over those that wait', async () => {
    await queue(`(1, 2, now()), (2, 1, now()), (3, 0, now() + interval '1 hour'), (4, 1, now() - interval '1 hour'),
      (5, 0, now())`);
    const order = [];
    for (let i = 0; i < 4; i++) order.push(...fidsOf(await claimRepairs(ns.db, 1)));
    expect(order).toEqual([5, 4, 2, 1]);
    expect(await claimRepairs(ns.db, 10)).toEqual([]);
  });

  it('gives each row to one of many who ask at once, until its lease has run out', async () => {
    await queue(Array.from({ length: 40 }, (_, i) => `(${i + 1}, ${i % 3}, now())`).join());
    const claims = await Promise.all(Array.from({ length: 8 }, () => claimRepairs(ns.db, 5)));
    const fids = fidsOf(claims.flat());
    expect(new Set(fids).size).toBe(fids.length);
    expect(fids.length + (await claimRepairs(ns.db, 40)).length).toBe(40);
    await ns.sql(`UPDATE repair SET leased_until = now() - interval '1 second' WHERE fid = 7 OR fid = 8`);
    await renewLeases(ns.db, [8]);
    expect(fidsOf(await claimRepairs(ns.db, 40))).toEqual([7]);
  });
});

describe('a batch', () => {
  it('ends with the blob that reaches its bytes, and has one at least', async () => {
    await ns.sql(`INSERT INTO repair (fid, copies, size, next_try)
      SELECT n, 1, n * 100, now() - interval '1 minute' + n * interval '1 second' FROM generate_series(1, 6) n`);
    expect(fidsOf(await claimRepairs(ns.db, 10, 50))).toEqual([1]);
    expect(fidsOf(await claimRepairs(ns.db, 10, 550))).toEqual([2, 3, 4]);
    expect(fidsOf(await claimRepairs(ns.db, 1, 5_000))).toEqual([5]);
    expect(await claimRepairs(ns.db, 10, 5_000)).toMatchObject([{ fid: 6, size: 600 }]);
  });
});

describe('a new need', () => {
  it('does not set a second worker on a blob that one is at, but brings it back when that one is done', async () => {
    await ns.namespace.commit(ns.upload('a'));
    const [{ fid } = { fid: 0 }] = await ns
      .sql<{ fid: string }>('SELECT fid FROM blobs')
      .then((rows) => rows.map((row) => ({ fid: Number(row.fid) })));
    await enqueueRepairs(ns.db, [fid]);
    const [claim] = await claimRepairs(ns.db, 1);
    if (claim === undefined) throw new Error('nothing was claimed');
    await enqueueRepairs(ns.db, [fid]);
    expect(await claimRepairs(ns.db, 1)).toEqual([]);
    expect(await finishRepair(ns.db, claim)).toBe(false);
    await postponeRepair(ns.db, claim, 1, 'no device');
    const [again] = await claimRepairs(ns.db, 1);
    expect(again).toMatchObject({ fid, version: 2 });
    expect(await finishRepair(ns.db, again as NonNullable<typeof again>)).toBe(true);
  });

  it('ends the pause of a repair that failed', async () => {
    await queue('(1, 0, now())');
    const [claim] = await claimRepairs(ns.db, 1);
    await postponeRepair(ns.db, { fid: 1, version: 1, size: 0, ...claim, attempts: 30 }, 0, 'no good copy');
    const [row] = await ns.sql<{ pause: number }>(
      'SELECT extract(epoch FROM next_try - now())::float8 AS pause FROM repair',
    );
    expect(row?.pause).toBeGreaterThan(290);
    expect(row?.pause).toBeLessThanOrEqual(300);
    expect(await claimRepairs(ns.db, 1)).toEqual([]);
    await enqueueRepairs(ns.db, [1]);
    expect(fidsOf(await claimRepairs(ns.db, 1))).toEqual([1]);
  });

  it('is not needed where devices or places came back: hurryRepairs', async () => {
    await queue('(1, 0, now()), (2, 0, now()), (3, 1, now())');
    for (const claim of await claimRepairs(ns.db, 3)) await postponeRepair(ns.db, claim, 0, 'no device');
    expect(await hurryRepairs(ns.db, [2])).toBe(1);
    const [underWay] = await claimRepairs(ns.db, 3);
    expect(underWay?.fid).toBe(2);
    expect(await hurryRepairs(ns.db)).toBe(3);
    expect(fidsOf(await claimRepairs(ns.db, 3))).toEqual([1, 3]);
    // It was looked at before the devices came: what it found does not hold it back.
    await postponeRepair(ns.db, underWay as Claim, 0, 'no device');
    expect(fidsOf(await claimRepairs(ns.db, 3))).toEqual([2]);
  });
});

describe('hurryRepairs', () => {
  it('goes through a queue of any length', async () => {
    await ns.sql(`INSERT INTO repair (fid, copies, why, next_try)
      SELECT n, 1, 'no device', now() + interval '1 hour' FROM generate_series(1, 25000) n`);
    expect(await hurryRepairs(ns.db)).toBe(25_000);
  });
});

describe('what operators see', () => {
  it('counts exactly, however long the queue is', async () => {
    await ns.sql(`INSERT INTO repair (fid, copies, want, size)
      SELECT n, n % 3, 2, 1000 FROM generate_series(1, 60000) n`);
    expect(await repairSummary(ns.db)).toMatchObject({
      queued: 60_000,
      underReplicated: 40_000,
      withoutCopy: 20_000,
      bytes: 40_000_000,
    });
  });

  it('counts what lacks copies, also on dead devices that no walk has come by yet, and names the files', async () => {
    for (const key of ['dir/one', 'two', 'three']) await ns.namespace.commit(ns.upload(key));
    await ns.namespace.remove(ns.domain, 'three');
    const files = await ns.sql<{ fid: string }>('SELECT fid FROM blobs ORDER BY fid');
    const [one = 0, two = 0, three = 0] = files.map(({ fid }) => Number(fid));
    expect(await repairSummary(ns.db)).toMatchObject({
      queued: 0,
      underReplicated: 0,
      withoutCopy: 0,
      oldest: null,
    });
    await ns.sql('DELETE FROM locations WHERE fid = $1 AND device_id = 1', [one]);
    await ns.sql(`UPDATE locations SET state = 'bad' WHERE fid = $1`, [three]);
    await enqueueRepairs(ns.db, [one, three]);
    await ns.sql(`UPDATE devices SET state = 'dead' WHERE id = 2`);
    try {
      // 'one' is queued already, 'two' is only found on the dead device.
      expect(await repairSummary(ns.db)).toMatchObject({ queued: 2, underReplicated: 3, withoutCopy: 1 });
    } finally {
      await ns.sql(`UPDATE devices SET state = 'alive' WHERE id = 2`);
    }
    const claim = { fid: three, version: 1, attempts: 0, size: 5 };
    await postponeRepair(ns.db, claim, 0, 'no good copy is reachable');
    expect(await stuckRepairs(ns.db)).toEqual([
      {
        fid: three,
        domain: 'demo',
        key: 'three',
        copies: 0,
        want: 2,
        why: 'no good copy is reachable',
        attempts: 1,
      },
    ]);
    expect(await queuedFiles(ns.db, 0, 1)).toEqual([
      { fid: one, domain: 'demo', key: 'dir/one', copies: 1, want: 2, why: 'it waits for its turn' },
    ]);
    expect((await queuedFiles(ns.db, one, 10)).map(({ fid }) => fid)).toEqual([three]);
    expect(two).toBeGreaterThan(one);
  });
});
