// The life of disks and hosts on a real cluster, by the operator's own commands: zones, a host that is away for long, a
// drain under writes, and a dead disk that comes back. One cluster goes through all of it.
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { ageReplicas, verifyReplicas } from './chaos/disks.ts';
import { brokenInvariants } from './chaos/invariants.ts';
import { useCluster } from './support/cluster.ts';
import { runCistern } from './support/command.ts';
import { filesOf } from './support/files.ts';
import { replicasOn, rootOf } from './support/replicas.ts';
import { waitFor } from './support/wait.ts';

vi.setConfig({ testTimeout: 180_000 });

const FILES = 30;
const PATIENCE = 90_000;
const cluster = useCluster({
  nodes: 3,
  devices: 1,
  env: {
    tracker: {
      CISTERN_DRAIN_GRACE_SECONDS: '2',
      CISTERN_HEAL_AFTER_SECONDS: '4',
      // So old must be what lies on a disk that is revived.
      CISTERN_SWEEP_AFTER_SECONDS: '5',
    },
  },
});
const { put, get, remove } = filesOf(cluster);

let db: pg.Pool;
beforeAll(() => {
  db = new pg.Pool({ connectionString: cluster().database });
});
afterAll(() => db.end());

/** What each key should read as. */
const files = new Map<string, string>();
async function upload(key: string): Promise<void> {
  expect((await put(key, `bytes of ${key}`)).ok).toBe(true);
  files.set(key, `bytes of ${key}`);
}

async function readAll(): Promise<void> {
  for (const [key, text] of [...files]) expect([key, await (await get(key)).text()]).toEqual([key, text]);
}

async function cistern(...args: string[]): Promise<string> {
  const env = {
    CISTERN_URL: cluster().trackers[0]?.url ?? '',
    CISTERN_TOKEN: cluster().adminToken,
    CISTERN_DOMAIN: cluster().domain,
  };
  const ran = await runCistern(args, { env });
  expect(ran.stderr).toBe('');
  expect(ran.code, args.join(' ')).toBe(0);
  return ran.stdout;
}

interface Device {
  id: number;
  state: string;
  reviving: boolean;
  missed: boolean;
  drain?: { empty: boolean };
}
async function device(id: number): Promise<Device> {
  const answer = await cluster().request('GET', '/v1/devices', { token: cluster().adminToken });
  const { devices } = (await answer.json()) as { devices: Device[] };
  return devices.find((one) => one.id === id) as Device;
}

/** The devices of each file's good copies, by key. */
async function placed(): Promise<Map<string, number[]>> {
  const { rows } = await db.query<{ key: string; devices: number[] }>(
    `SELECT n.name AS key, array_agg(l.device_id ORDER BY l.device_id) AS devices
      FROM names n JOIN locations l ON l.fid = n.fid AND l.state = 'good' GROUP BY n.name`,
  );
  return new Map(rows.map(({ key, devices }) => [key, devices]));
}

const until = (what: string, holds: (devices: number[], key: string) => boolean) =>
  waitFor(
    async () => {
      const all = await placed();
      return all.size === files.size && [...all].every(([key, devices]) => holds(devices, key));
    },
    { what, timeout: PATIENCE, every: 200 },
  );

async function settled(): Promise<void> {
  expect(await brokenInvariants(db)).toEqual([]);
  expect((await verifyReplicas(cluster(), db)).wrong).toEqual([]);
  await readAll();
}

test('a class that wants zones: new files go to two of them, and former ones are moved', async () => {
  for (let i = 0; i < FILES; i++) await upload(`file-${i}`);
  expect([...(await placed()).values()]).toContainEqual([1, 2]);
  await cistern('host', 'zone', 'h1', 'rack-a');
  await cistern('host', 'zone', 'h2', 'rack-a');
  await cistern('host', 'zone', 'h3', 'rack-b');
  await cistern('class', 'set', 'default', '--spread', 'zone');
  for (let i = 0; i < FILES / 3; i++) await upload(`spread-${i}`);
  for (const [key, devices] of await placed()) if (key.startsWith('spread')) expect(devices).toContain(3);
  await until('two zones for each file', (devices) => devices.length === 2 && devices.includes(3));
  await settled();
  await cistern('class', 'set', 'default', '--spread', 'host');
});

test('a host that is away for long: its copies are made elsewhere, and trimmed when it is back', async () => {
  await cluster().nodes[2]?.kill();
  await until(
    'two copies on the hosts that are left',
    (devices) => devices.includes(1) && devices.includes(2),
  );
  expect(await device(3)).toMatchObject({ state: 'alive', missed: true });
  await readAll();
  await cluster().nodes[2]?.start();
  await until('no copy too many', (devices) => devices.length === 2);
  expect(await device(3)).toMatchObject({ state: 'alive', missed: false });
  await settled();
});

test('a drain under writes ends with an empty disk; set back alive in the middle it goes on as before', async () => {
  let writing = true;
  const writer = (async () => {
    for (let i = 0; writing; i++) {
      await upload(`while-draining-${i % 20}`);
      await sleep(20);
    }
  })();
  try {
    await cistern('device', 'drain', '1');
    await waitFor(
      async () => {
        await readAll();
        return (await device(1)).drain?.empty;
      },
      { what: 'an empty disk', timeout: PATIENCE, every: 200 },
    );
  } finally {
    writing = false;
    await writer;
  }
  expect(await cistern('device', 'show', '1')).toMatch(/^standing\tempty$/m);
  await until('both copies on the others', (devices) => `${devices}` === '2,3');
  await cistern('device', 'alive', '1');
  await cistern('device', 'drain', '2');
  await waitFor(async () => [...(await placed()).values()].some((devices) => devices.includes(1)), {
    what: 'the first copy elsewhere',
    timeout: PATIENCE,
  });
  await cistern('device', 'alive', '2');
  await until('two copies of each file', (devices) => devices.length === 2);
  await upload('after the drain');
  await settled();
});

test('a dead disk that comes back stays out; revived, it is compared, and then takes writes', async () => {
  await cistern('class', 'set', 'three', '--copies', '3', '--prefix', 'three-');
  for (let i = 0; i < 5; i++) await upload(`three-${i}`);
  await until('the third copies', (devices, key) => devices.length === (key.startsWith('three-') ? 3 : 2));
  const { rows } = await db.query<{ fid: number }>(
    `SELECT fid::float8 AS fid FROM locations WHERE device_id = 1 AND state = 'good'`,
  );
  await cluster().nodes[0]?.kill();
  await cistern('host', 'dead', 'h1', '--yes');
  await until('two copies on the others', (devices) => `${devices}` === '2,3');
  expect((await remove('three-0')).status).toBe(204);
  files.delete('three-0');
  await cluster().nodes[0]?.start();
  await waitFor(async () => (await cistern('device', 'list')).includes('dead, but its disk answers'), {
    what: 'the dead disk to answer',
    timeout: PATIENCE,
  });
  await upload('while it is dead');
  await until('nothing on the dead disk', (devices) => `${devices}` === '2,3');
  await ageReplicas(db);
  await cistern('device', 'revive', '1', '--yes');
  await waitFor(async () => (await device(1)).state === 'alive', {
    what: 'the disk to be alive',
    timeout: PATIENCE,
  });
  await until(
    'what is wanted there',
    (devices, key) => devices.length === (key.startsWith('three-') ? 3 : 2),
  );
  await waitFor(
    async () => {
      const good = await db.query<{ fid: number }>(
        `SELECT fid::float8 AS fid FROM locations WHERE device_id = 1 AND state = 'good'`,
      );
      const counted = new Set(good.rows.map(({ fid }) => fid));
      const trashed = await db.query<{ fid: number }>('SELECT fid::float8 AS fid FROM trash');
      for (const { fid } of trashed.rows) counted.add(fid);
      const held = await replicasOn(rootOf(cluster(), 1));
      return rows.every(({ fid }) => counted.has(fid) || !held.has(fid));
    },
    { what: 'the rest to be gone from the disk', timeout: PATIENCE, every: 200 },
  );
  await waitFor(
    async () => {
      await upload(`after-${files.size}`);
      return (await placed()).get(`after-${files.size - 1}`)?.includes(1);
    },
    { what: 'a new file on the disk', timeout: PATIENCE },
  );
  await settled();
});
