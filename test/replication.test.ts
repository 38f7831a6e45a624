// Replication on a real cluster: what operators rely on when disks and hosts fail, and what is cleaned up when they do
// not. Replicas are looked for on the disks themselves. Waiting periods are shortened by ageing rows and files.
import { existsSync, mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { blobPath } from '../storage-node/layout.ts';
import { useCluster } from './support/cluster.ts';
import { holdersOf, overwrite, readReplica, replicaOf, replicasOn, rootOf } from './support/replicas.ts';
import { waitFor } from './support/wait.ts';

const cluster = useCluster({
  devices: 1,
  env: {
    tracker: {
      CISTERN_REAP_AFTER_SECONDS: '0',
      CISTERN_SWEEP_AFTER_SECONDS: '5',
      CISTERN_SWEEP_EVERY_SECONDS: '1',
    },
    // Reads must see what happens to the disks below.
    node: { CISTERN_CACHE_BYTES: '0' },
  },
});

let db: pg.Pool;
beforeAll(async () => {
  db = new pg.Pool({ connectionString: cluster().database });
  for (const [name, body] of [
    ['fleeting', { trash: false, prefixes: ['fleeting/'] }],
    ['three', { copies: 3, prefixes: ['three/'] }],
  ] as const) {
    expect((await admin('PUT', `/v1/domains/demo/classes/${name}`, body)).status).toBe(201);
  }
});
afterAll(() => db.end());

const admin = (method: string, path: string, body?: object) =>
  cluster().request(method, path, { token: cluster().adminToken, ...(body && { body }) });
const file = (method: string, key: string, body?: string) =>
  cluster().request(method, `/v1/domains/demo/files/${key}`, body === undefined ? {} : { body });

/** Stores a file; answers with its fid when it has `copies` good locations. */
async function store(key: string, body: string, copies = 2): Promise<number> {
  const answer = await file('PUT', key, body);
  expect(answer.status).toBe(201);
  const { fid } = (await answer.json()) as { fid: number };
  await waitFor(async () => (await good(fid)).length === copies, { what: `${copies} copies of ${key}` });
  return fid;
}

async function locations(fid: number): Promise<Record<number, string>> {
  const { rows } = await db.query('SELECT device_id, state FROM locations WHERE fid = $1', [fid]);
  return Object.fromEntries(rows.map((row) => [row.device_id, row.state]));
}
const good = async (fid: number) =>
  Object.entries(await locations(fid)).flatMap(([device, state]) =>
    state === 'good' ? [Number(device)] : [],
  );

/** Where a replica that comes from elsewhere can be put as a file. */
const pathOf = (device: number, fid: number) => join(rootOf(cluster(), device), blobPath(fid));
const replica = (device: number, fid: number) => replicaOf(cluster(), fid, device);
const onDisk = (fid: number) => holdersOf(cluster(), fid);
const isAside = (device: number, fid: number) => {
  const aside = join(rootOf(cluster(), device), 'quarantine');
  return existsSync(aside) && readdirSync(aside).some((name) => name.startsWith(`${fid}.`));
};
const makeOld = (path: string) => utimesSync(path, 1_600_000_000, 1_600_000_000);
const ageLocations = (fid: number) =>
  db.query(`UPDATE locations SET at = at - interval '1 hour' WHERE fid = $1`, [fid]);
/** Has the orders to remove replicas of a blob come again at once. */
const ageRemoved = (fid: number) =>
  db.query(`UPDATE locations SET at = at - interval '1 hour' WHERE fid = $1 AND state = 'removing'`, [fid]);

interface MissingFile {
  fid: number;
  key: string;
  copies: number;
  want: number;
  why: string;
}

async function missing(): Promise<MissingFile[]> {
  const answer = await admin('GET', '/v1/repair/missing');
  return ((await answer.json()) as { files: MissingFile[] }).files;
}
async function scanAll(): Promise<{ scanned: number; queued: number }> {
  const answer = await admin('POST', '/v1/repair/scan', {});
  expect(answer.status).toBe(200);
  return (await answer.json()) as { scanned: number; queued: number };
}

describe('replicas that go bad', () => {
  it('replaces one that is gone from its disk with its volume, found by the sweep', async () => {
    const fid = await store('lost.txt', 'to be lost');
    const [first = 0] = await good(fid);
    rmSync((await replica(first, fid)).path);
    await ageLocations(fid);
    await waitFor(
      async () =>
        (await onDisk(fid)).length === 2 &&
        (await good(fid)).length === 2 &&
        !(await good(fid)).includes(first),
      {
        what: 'another copy on the third host',
      },
    );
    for (const device of await good(fid))
      expect(readReplica(await replica(device, fid)).toString()).toBe('to be lost');
  });

  it('never serves one that is corrupt, replaces it, and removes it', async () => {
    const fid = await store('corrupt.txt', 'to be corrupted');
    const [first = 0] = await good(fid);
    overwrite(await replica(first, fid), 'tobe corrupted!');
    await waitFor(
      async () => {
        expect(await (await file('GET', 'corrupt.txt')).text()).toBe('to be corrupted');
        return (await good(fid)).length === 2 && !(await good(fid)).includes(first);
      },
      { what: 'another copy instead of the corrupt one' },
    );
    await waitFor(async () => !(await onDisk(fid)).includes(first), {
      what: 'the corrupt copy to be removed',
    });
    // The row stays until an order finds nothing: the first one does if the node has put the copy aside before.
    await waitFor(
      async () => {
        await ageRemoved(fid);
        return !(first in (await locations(fid)));
      },
      { what: 'the row of the removed copy to go' },
    );
    expect(await good(fid)).toHaveLength(2);
  });

  it('keeps the last ones, though corrupt, says so, and takes them back if they come right', async () => {
    const body = 'both will be corrupted';
    const fid = await store('both.txt', body);
    const devices = await good(fid);
    for (const device of devices) overwrite(await replica(device, fid), body.toUpperCase());
    await waitFor(
      async () => {
        expect((await file('GET', 'both.txt')).status).toBe(503);
        return (await good(fid)).length === 0;
      },
      { what: 'both copies to be known as bad' },
    );
    await waitFor(
      async () => (await missing()).some((one) => one.fid === fid && /no good copy/.test(one.why)),
      {
        what: 'the file to be listed',
      },
    );
    expect((await missing()).find((one) => one.fid === fid)).toMatchObject({
      key: 'both.txt',
      copies: 0,
      want: 2,
    });
    await waitFor(() => devices.every((device) => isAside(device, fid)), { what: 'both to be put aside' });
    for (const device of devices) writeFileSync(pathOf(device, fid), body);
    await scanAll();
    await waitFor(async () => (await good(fid)).length === 2, { what: 'two good copies again' });
    expect(await (await file('GET', 'both.txt')).text()).toBe(body);
  });

  it('makes room on the only device that can take the copy', async () => {
    const body = 'one of three';
    const fid = await store('three/room.txt', body, 3);
    overwrite(await replica(2, fid), 'ONE OF THREE');
    await waitFor(
      async () => {
        await (await file('GET', 'three/room.txt')).text();
        return (await locations(fid))[2] !== 'good';
      },
      { what: 'the corrupt copy to be given up' },
    );
    await waitFor(
      async () => {
        await ageRemoved(fid);
        await scanAll();
        return (await good(fid)).length === 3;
      },
      { what: 'three good copies', every: 250 },
    );
    expect(readReplica(await replica(2, fid)).toString()).toBe(body);
  });
});

describe('what no file needs', () => {
  it('reaps the bytes of a file that was deleted for good', async () => {
    const fid = await store('fleeting/a', 'soon gone');
    expect(await onDisk(fid)).toHaveLength(2);
    expect((await file('DELETE', 'fleeting/a')).status).toBe(204);
    await waitFor(async () => (await onDisk(fid)).length === 0, { what: 'both replicas to be unlinked' });
    const { rows } = await db.query('SELECT state FROM blobs WHERE fid = $1', [fid]);
    expect(rows).toEqual([{ state: 'gone' }]);
    await ageLocations(fid);
    await waitFor(async () => Object.keys(await locations(fid)).length === 0, { what: 'the rows to go' });
  });

  it('keeps what lies in the trash', async () => {
    const fid = await store('kept.txt', 'kept in the trash');
    await file('DELETE', 'kept.txt');
    const gone = await store('fleeting/b', 'reaped meanwhile');
    await file('DELETE', 'fleeting/b');
    await waitFor(async () => (await onDisk(gone)).length === 0, { what: 'the other one to be reaped' });
    expect(await onDisk(fid)).toHaveLength(2);
  });

  it('sweeps bytes that the database does not know, when they are old enough, and burns their fid', async () => {
    const { rows } = await db.query('SELECT next_fid FROM cluster');
    const fid = Number(rows[0].next_fid) + 1_000_000;
    const young = fid + 1;
    for (const one of [fid, young]) {
      mkdirSync(dirname(pathOf(1, one)), { recursive: true });
      writeFileSync(pathOf(1, one), 'never committed');
    }
    makeOld(pathOf(1, fid));
    // It stays young for as long as this test lasts.
    utimesSync(pathOf(1, young), new Date(), new Date(Date.now() + 3_600_000));
    await waitFor(() => !existsSync(pathOf(1, fid)), { what: 'the unknown bytes to be removed' });
    expect(existsSync(pathOf(1, young))).toBe(true);
    const blobs = await db.query('SELECT state FROM blobs WHERE fid = $1', [fid]);
    expect(blobs.rows).toEqual([{ state: 'void' }]);
    rmSync(pathOf(1, young));
  });

  it('never sweeps fids from before the database was restored', async () => {
    await db.query('UPDATE cluster SET sweep_from = next_fid + 5000000');
    try {
      const { rows } = await db.query('SELECT next_fid FROM cluster');
      const before = Number(rows[0].next_fid) + 2_000_000;
      const after = before + 4_000_000;
      for (const fid of [before, after]) {
        mkdirSync(dirname(pathOf(2, fid)), { recursive: true });
        writeFileSync(pathOf(2, fid), 'forgotten by the backup?');
        makeOld(pathOf(2, fid));
      }
      await waitFor(() => !existsSync(pathOf(2, after)), { what: 'the later one to be removed' });
      expect(existsSync(pathOf(2, before))).toBe(true);
      rmSync(pathOf(2, before));
    } finally {
      await db.query('UPDATE cluster SET sweep_from = 1');
    }
  });

  it('gives up a copy that nobody counts and nobody needs, and counts one that is needed', async () => {
    const fid = await store('extra.txt', 'one copy too many');
    const [first = 0] = await good(fid);
    const held = await onDisk(fid);
    const extra = [1, 2, 3].find((device) => !held.includes(device)) as number;
    mkdirSync(dirname(pathOf(extra, fid)), { recursive: true });
    writeFileSync(pathOf(extra, fid), readReplica(await replica(first, fid)));
    makeOld(pathOf(extra, fid));
    await waitFor(() => !existsSync(pathOf(extra, fid)), { what: 'the surplus copy to be removed' });
    expect(await good(fid)).toHaveLength(2);
    // A copy that a backup forgot is one that need not be made.
    await db.query('DELETE FROM locations WHERE fid = $1 AND device_id = ANY ($2)', [fid, [first, extra]]);
    await waitFor(async () => (await good(fid)).length === 2, { what: 'two counted copies' });
  });
});

describe('hosts that go', () => {
  it('says which files wait for a host that is down, copies nothing, and is content when it is back', async () => {
    const fid = await store('three/down.txt', 'three copies', 3);
    const node = cluster().nodes[2];
    await node?.kill();
    await waitFor(
      async () => {
        await scanAll();
        return (await missing()).some(
          (one) => one.fid === fid && /device 3 \(h3\), which is down/.test(one.why),
        );
      },
      { what: 'the file to be listed with the host that is down' },
    );
    expect((await missing()).find((one) => one.fid === fid)).toMatchObject({ copies: 2, want: 3 });
    expect(await good(fid)).toHaveLength(3);
    await node?.start();
    await waitFor(async () => (await missing()).length === 0, {
      what: 'the queue to be empty again',
      timeout: 20_000,
    });
    expect((await scanAll()).queued).toBe(0);
  });

  it('gives every file its copies again after a host is lost', async () => {
    const bodies = new Map<string, string>();
    const keys = Array.from({ length: 200 }, (_, i) => `mass/${i}`);
    for (const key of keys) bodies.set(key, `the body of ${key}`);
    await Promise.all(keys.map((key) => store(key, bodies.get(key) as string)));
    // Two hosts will be left: nothing may want three.
    for (const table of ['names', 'trash']) {
      await db.query(`DELETE FROM ${table} WHERE class_id = (SELECT id FROM classes WHERE name = 'three')`);
    }
    // What the tests above left to be removed must not stand in the way.
    await db.query(`UPDATE locations SET at = at - interval '1 hour' WHERE state = 'removing'`);
    await cluster().nodes[0]?.kill();
    await waitFor(async () => (await admin('PATCH', '/v1/devices/1', { state: 'dead' })).status === 200, {
      what: 'device 1 to be declared dead',
    });
    await waitFor(
      async () => {
        const { queued } = await scanAll();
        return queued === 0 && (await missing()).every(({ key }) => !bodies.has(key));
      },
      { what: 'every file to have its copies', timeout: 20_000, every: 500 },
    );
    for (const key of keys) {
      expect(await (await file('GET', key)).text()).toBe(bodies.get(key));
    }
    const { rows } = await db.query(
      `SELECT n.name, n.fid FROM names n JOIN dirs d ON d.id = n.dir_id WHERE d.path = 'mass/'`,
    );
    expect(rows).toHaveLength(200);
    for (const { fid } of rows) expect(await good(Number(fid))).toEqual([2, 3]);
    for (const device of [2, 3]) {
      const held = await replicasOn(rootOf(cluster(), device));
      for (const { name, fid } of rows) {
        const found = held.get(Number(fid));
        expect(found && readReplica(found).toString()).toBe(`the body of mass/${name}`);
      }
    }
    await waitFor(async () => (await db.query('SELECT FROM locations WHERE device_id = 1')).rowCount === 0, {
      what: 'the dead device to hold nothing any more',
    });
  });
});
