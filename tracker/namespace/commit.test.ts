// What a commit makes of the devices of an upload, on a real PostgreSQL; devices 1 to 3 are on the hosts h1 to h3.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openNamespace, type TestNamespace } from '../../test/support/namespace.ts';

let ns: TestNamespace;
let files = 0;
beforeAll(async () => {
  ns = await openNamespace();
});
afterAll(() => ns.close());
beforeEach(async () => {
  await ns.sql(`UPDATE devices SET state = 'alive', accepts_until = 'infinity'`);
  await ns.sql('TRUNCATE repair');
});

/** Commits an upload that devices 1 and 2 hold; answers with where it is counted, and whether a repair is queued. */
async function commit() {
  const upload = ns.upload(`file-${++files}`);
  await ns.namespace.commit(upload);
  const places = await ns.sql<{ device_id: number }>(
    'SELECT device_id FROM locations WHERE fid = $1 ORDER BY 1',
    [upload.fid],
  );
  const queued = await ns.sql('SELECT FROM repair WHERE fid = $1', [upload.fid]);
  return { devices: places.map(({ device_id }) => device_id), queued: queued.length > 0 };
}

describe('a device that is drained', () => {
  it('counts while uploads from before may arrive, and no longer', async () => {
    await ns.sql(
      `UPDATE devices SET state = 'drain', accepts_until = now() + interval '1 hour' WHERE id = 2`,
    );
    expect(await commit()).toEqual({ devices: [1, 2], queued: false });
    await ns.sql(`UPDATE devices SET accepts_until = now() WHERE id = 2`);
    await expect(commit()).rejects.toMatchObject({ problem: 'too-few-devices' });
    await ns.sql('UPDATE classes SET min_copies = 1');
    expect(await commit()).toEqual({ devices: [1], queued: true });
    await ns.sql('UPDATE classes SET min_copies = 2');
  });
});

describe('a device that is dead', () => {
  it('gets no row: nothing of before may count when it comes back', async () => {
    await ns.sql(`UPDATE devices SET state = 'dead' WHERE id = 2`);
    await ns.sql('UPDATE classes SET min_copies = 1');
    expect(await commit()).toEqual({ devices: [1], queued: true });
    await ns.sql('UPDATE classes SET min_copies = 2');
  });
});

describe('an upload of a class that is spread over zones', () => {
  it('is queued if its copies are in fewer zones than there are', async () => {
    await ns.sql(`UPDATE classes SET spread = 'zone'`);
    expect((await commit()).queued).toBe(false);
    await ns.sql(`UPDATE hosts SET zone = 'other' WHERE name = 'h3'`);
    expect((await commit()).queued).toBe(true);
    await ns.sql(`UPDATE classes SET spread = 'host'`);
    expect((await commit()).queued).toBe(false);
    await ns.sql(`UPDATE classes SET spread = 'zone'`);
    await ns.sql(`UPDATE hosts SET zone = 'other' WHERE name = 'h2'`);
    expect((await commit()).queued).toBe(false);
  });
});
