// Disks that are taken away from a running node, and given back, and disks that are full to the last byte.
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { type NodePart, useCluster } from './support/cluster.ts';
import { filesOf, problemOf, sql } from './support/files.ts';
import { lacksRoot, needs } from './support/needs.ts';
import { onDisks } from './support/replicas.ts';
import { waitFor } from './support/wait.ts';

const MiB = 1024 * 1024;

const cluster = useCluster({
  devices: 1,
  // On disks as small as these here a file or two would be a reason to move others.
  env: {
    tracker: { CISTERN_REAP_AFTER_SECONDS: '0.2', CISTERN_REBALANCE_BAND: '1' },
    node: { CISTERN_CACHE_BYTES: '0' },
  },
});
const { put, get, remove } = filesOf(cluster);
const pathOf = (node: NodePart | undefined) => node?.devices[0]?.path as string;
const mounted = new Set<string>();
afterAll(() => {
  // A test that failed may have left one away.
  for (const path of mounted) spawnSync('umount', ['-l', path]);
});

async function condition(id: number): Promise<string> {
  const answer = await cluster().request('GET', '/v1/devices', { token: cluster().adminToken });
  const { devices } = (await answer.json()) as { devices: { id: number; condition: string }[] };
  return devices.find((device) => device.id === id)?.condition ?? 'unknown';
}
const becomes = (id: number, wanted: string) =>
  waitFor(async () => (await condition(id)) === wanted, { what: `device ${id} to be ${wanted}` });

/** A disk is gone while its node runs: nothing is written in its place, nothing is believed of it, nothing is lost. */
async function withoutDisk(takeAway: () => void, giveBack: () => void, place: string): Promise<void> {
  const device = cluster().nodes[0]?.devices[0]?.id as number;
  const files = new Map(
    Array.from({ length: 30 }, (_, i) => [`gone/${i}`, randomBytes(i === 0 ? 2 * MiB : 3_000)]),
  );
  for (const [key, bytes] of files) await put(key, bytes);
  const rows = () =>
    sql(cluster(), 'SELECT fid, device_id, state FROM locations WHERE device_id = $1 ORDER BY fid', [device]);
  // On a busy machine an upload may have missed a device for a moment, and its copy is made a little later.
  const settled = async () => (await sql(cluster(), 'SELECT 1 FROM repair', [])).length === 0;
  await waitFor(settled, { what: 'all copies to be made' });
  const before = await rows();
  expect(before.length).toBeGreaterThan(0);

  takeAway();
  // At once, before anybody has noticed: uploads that are sent to the missing disk go elsewhere.
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, i) => put(`meanwhile/${i}`, randomBytes(i === 0 ? 2 * MiB : 3_000))),
  );
  expect(answers.map(({ status }) => status).filter((status) => status >= 300)).toEqual([]);
  for (const [key, bytes] of files) {
    expect(Buffer.from(await (await get(key)).arrayBuffer()).equals(bytes), key).toBe(true);
  }
  await becomes(device, 'out');
  expect(existsSync(place) ? readdirSync(place) : []).toEqual([]);
  // That a disk is away says nothing about its replicas.
  expect(await rows()).toEqual(before);

  giveBack();
  await becomes(device, 'ok');
  const [alone] = cluster().nodes.slice(1);
  await alone?.kill();
  for (const [key, bytes] of files) {
    expect(Buffer.from(await (await get(key)).arrayBuffer()).equals(bytes), key).toBe(true);
  }
  await alone?.start();
  await cluster().ready();
  for (const key of [...files.keys(), ...answers.map((_, i) => `meanwhile/${i}`)]) await remove(key);
}

test('one whose directory is moved away', async () => {
  const path = pathOf(cluster().nodes[0]);
  const giveBack = () => {
    rmSync(path, { recursive: true, force: true });
    renameSync(`${path}.away`, path);
  };
  await withoutDisk(() => renameSync(path, `${path}.away`), giveBack, path);
  const leaveEmpty = () => {
    renameSync(path, `${path}.away`);
    mkdirSync(path);
  };
  await withoutDisk(leaveEmpty, giveBack, path);
}, 60_000);

/** Puts a small file system of its own under the device of each node. */
async function mountAll(megabytes: number): Promise<void> {
  for (const node of cluster().nodes) {
    const path = pathOf(node);
    await node.stop();
    renameSync(path, `${path}.old`);
    mkdirSync(path);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', path]);
    mounted.add(path);
    cpSync(`${path}.old`, path, { recursive: true });
    rmSync(`${path}.old`, { recursive: true });
    await node.start();
  }
  await cluster().ready();
}

test('one that is unmounted while it is in use', async (context) => {
  needs(context, lacksRoot());
  await mountAll(24);
  const path = pathOf(cluster().nodes[0]);
  // What was mounted stays reachable at another place, so that it can be had back.
  const keeper = `${path}.keeper`;
  mkdirSync(keeper);
  execFileSync('mount', ['--bind', path, keeper]);
  mounted.add(keeper);
  await withoutDisk(
    () => execFileSync('umount', ['-l', path]),
    () => execFileSync('mount', ['--bind', keeper, path]),
    path,
  );
}, 60_000);

test('all are full: 507, nothing is broken, deletes make room', async (context) => {
  needs(context, lacksRoot());
  // Were one not mounted, because the test before failed, the machine's own disk would be filled.
  for (const path of cluster().nodes.map(pathOf)) {
    const { blocks, bsize } = statfsSync(path);
    expect(blocks * bsize, path).toBeLessThan(64 * MiB);
  }
  await cluster().request('PUT', '/v1/domains/demo/classes/default', {
    token: cluster().adminToken,
    body: { trash: false },
  });
  const bytes = randomBytes(MiB);
  const stored = new Map<string, Buffer>();
  const fill = async () => {
    for (let i = 0; ; i++) {
      const key = `full/${stored.size}-${i}`;
      const answer = await put(key, bytes);
      if (answer.status !== 201) return { key, answer };
      stored.set(key, bytes);
    }
  };
  const { key, answer } = await fill();
  expect(await problemOf(answer)).toEqual({ name: 'insufficient-storage', status: 507 });
  expect((await get(key)).status).toBe(404);
  expect(stored.size).toBeGreaterThan(5);
  // Somebody else fills the disks to their last byte, the reserve included.
  for (const node of cluster().nodes) {
    try {
      for (let i = 0; ; i++) writeFileSync(`${pathOf(node)}/foreign-${i}`, bytes.subarray(0, 64 * 1024));
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC');
    }
  }
  for (const [index, size] of [10, 5_000, 600_000].entries()) {
    const late = await put(`full/late-${index}`, bytes.subarray(0, size));
    // A few bytes may still have room in the last page of a volume.
    if (late.status === 201 && size < 4_096) stored.set(`full/late-${index}`, bytes.subarray(0, size));
    else expect(late.status).toBe(507);
  }
  for (const [one, body] of stored) {
    expect(Buffer.from(await (await get(one)).arrayBuffer()).equals(body), one).toBe(true);
  }
  const held = await onDisks(cluster());
  expect(held.temporary).toEqual([]);
  for (const one of stored.keys()) expect((await remove(one)).status).toBe(204);
  const gone = async () => (await onDisks(cluster())).replicas.size <= held.replicas.size - 2 * stored.size;
  await waitFor(gone, { what: 'what was deleted to go from the full disks' });
  await waitFor(async () => (await put('full/again', bytes)).status === 201, {
    what: 'uploads to be taken again',
  });
  expect(Buffer.from(await (await get('full/again')).arrayBuffer()).equals(bytes)).toBe(true);
}, 60_000);
