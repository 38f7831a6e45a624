// fsck between other sessions: whatever happens between its two looks, what is on its way is no finding. Each
// interleaving is scripted by a node whose answers come when the script wants them; the twin looks once, and suspects.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Inventory } from '../../services/protocol.ts';
import type { DeviceState } from '../../tracker/cluster/state.ts';
import { fsckDevice, type Needed, suspicions } from '../../tracker/replication/fsck-device.ts';
import type { NodeClient } from '../../tracker/transfer/node-client.ts';
import { openNamespace, type TestNamespace } from '../support/namespace.ts';

let ns: TestNamespace;
let device: DeviceState;
/** What device 1 holds: fid -> size. */
const disk = new Map<number, number>();
/** What happens between the first listing and the second. */
let meanwhile: () => Promise<void>;
let listings: number;
let fid: number;
let files = 0;

const HOUR_MS = 3_600_000;

beforeAll(async () => {
  ns = await openNamespace();
  device = ns.state.device(1) as DeviceState;
});
afterAll(() => ns.close());
beforeEach(async () => {
  await ns.sql('TRUNCATE repair, locations, names, trash, reap, blobs CASCADE');
  disk.clear();
  listings = 0;
  meanwhile = async () => {};
});

// The listing is taken before the script goes on, and answered after it.
async function inventory(_device: DeviceState, { after, limit }: { after: number; limit: number }) {
  const blobs = [...disk]
    .filter(([one]) => one > after)
    .sort(([a], [b]) => a - b)
    .slice(0, limit)
    .map(([one, size]) => ({ fid: one, size, at: ns.state.now() - HOUR_MS }));
  if (listings++ === 0) await meanwhile();
  return { blobs } as Inventory;
}

const parts = (): Needed => ({
  db: ns.db,
  state: ns.state,
  nodes: { inventory } as unknown as NodeClient,
  config: { CISTERN_SWEEP_AFTER_SECONDS: 60 },
});

const kinds = async () =>
  (await fsckDevice(parts(), device, { after: 0, verify: false })).findings.map(({ kind }) => kind);

/** The twin: one listing, the rows after it, and no second look. */
async function oneLook(): Promise<string[]> {
  const page = await inventory(device, { after: 0, limit: 100 });
  const rows = (await ns.sql(
    `SELECT l.fid::float8 AS fid, l.state, l.at::text AS at, b.state AS blob, b.size::float8 AS size, NULL AS sha256
      FROM locations l LEFT JOIN blobs b ON b.fid = l.fid WHERE l.device_id = 1 ORDER BY l.fid`,
  )) as Parameters<typeof suspicions>[3];
  return [...(await suspicions(parts(), device, page.blobs, rows, { after: 0, verify: false })).values()];
}

async function store(): Promise<void> {
  const upload = ns.upload(`file-${++files}`);
  fid = upload.fid;
  disk.set(fid, upload.size);
  await ns.namespace.commit(upload);
}

describe('an upload that is committed while its device is listed', () => {
  beforeEach(() => {
    meanwhile = store;
  });
  it('is not missing', async () => expect(await kinds()).toEqual([]));
  it('would be, were there one look', async () => expect(await oneLook()).toEqual(['missing']));
});

describe('a slow upload, whose bytes are old when it is committed', () => {
  // Its commit comes after the rows were read: at the second look it is known.
  const commitLate = async () => {
    const upload = ns.upload(`file-${++files}`);
    disk.set(upload.fid, upload.size);
    const known = ns.db.query.bind(ns.db);
    let reads = 0;
    const db = Object.assign(Object.create(ns.db), {
      query: async (statement: { name: string; text: string }, values: unknown[]) => {
        const rows = await known(statement, values);
        if (statement.name === 'fsck-blobs' && reads++ === 0) await ns.namespace.commit(upload);
        return rows;
      },
    }) as TestNamespace['db'];
    return { ...parts(), db };
  };
  it('is not unknown', async () => {
    const page = await fsckDevice(await commitLate(), device, { after: 0, verify: false });
    expect(page.findings).toEqual([]);
    expect(await ns.sql('SELECT FROM locations WHERE device_id = 1')).toHaveLength(1);
  });
  it('would be, were there one look', async () => {
    const slow = await commitLate();
    const page = await inventory(device, { after: 0, limit: 100 });
    const found = await suspicions(slow, device, page.blobs, [], { after: 0, verify: false });
    expect([...found.values()]).toEqual(['unknown']);
  });
});

describe('a replica that was removed and forgotten while its device is listed', () => {
  beforeEach(async () => {
    await store();
    await ns.sql(`UPDATE locations SET state = 'removing' WHERE fid = $1 AND device_id = 1`, [fid]);
    meanwhile = async () => {
      disk.delete(fid);
      await ns.sql('DELETE FROM locations WHERE fid = $1 AND device_id = 1', [fid]);
    };
  });
  it('is not uncounted', async () => expect(await kinds()).toEqual([]));
  it('would be, were there one look', async () => expect(await oneLook()).toEqual(['uncounted']));
});

describe('a replica that is given up, removed, and placed again', () => {
  // Each look by itself finds a good row and no file: the row is not the same one.
  beforeEach(async () => {
    await store();
    disk.delete(fid);
    meanwhile = async () => {};
  });
  const placedAgain = async () => {
    const known = ns.db.query.bind(ns.db);
    const db = Object.assign(Object.create(ns.db), {
      query: async (statement: { name: string; text: string }, values: unknown[]) => {
        if (statement.name === 'fsck-rows-again') {
          await ns.sql('DELETE FROM locations WHERE fid = $1 AND device_id = 1', [fid]);
          await ns.sql('INSERT INTO locations (fid, device_id) VALUES ($1, 1)', [fid]);
        }
        return known(statement, values);
      },
    }) as TestNamespace['db'];
    return (await fsckDevice({ ...parts(), db }, device, { after: 0, verify: false })).findings;
  };
  it('is not missing', async () => expect(await placedAgain()).toEqual([]));
  it('would be, if its row had stayed the same', async () => expect(await kinds()).toEqual(['missing']));
});
