// Replicas that go bad by themselves, and disks that come back as other than they were: noticed, said, and mended.
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import type { Device, Status } from '../ops/lib/types.ts';
import { type NodePart, useCluster } from './support/cluster.ts';
import { runCistern } from './support/command.ts';
import { filesOf, sha256, sql } from './support/files.ts';
import { flipBit, holdersOf, readReplica, replicaOf, rootOf } from './support/replicas.ts';
import { waitFor } from './support/wait.ts';

vi.setConfig({ testTimeout: 240_000 });
const cluster = useCluster({
  devices: 1,
  env: {
    tracker: { CISTERN_SWEEP_EVERY_SECONDS: '0.5' },
    node: {
      CISTERN_SCRUB_DAYS: '0.00001',
      CISTERN_SCRUB_BYTES_PER_SECOND: '1000000000',
      CISTERN_CACHE_BYTES: '0',
    },
  },
});
const { put, get } = filesOf(cluster);
const bytesOf = (name: string, size: number) => Buffer.alloc(size, `${name}, `);

/** Stores a file and waits for its second copy, which an upload does without if the other host does not answer in time. */
async function put2(name: string, size: number): Promise<number> {
  const answer = await put(name, bytesOf(name, size));
  expect(answer.status).toBe(201);
  const { fid } = (await answer.json()) as { fid: number };
  await until('two copies', async () => (await holders(fid)).length === 2);
  return fid;
}
/** Devices that hold a good copy, by the database. */
async function holders(fid: number): Promise<number[]> {
  const text = `SELECT device_id AS id FROM locations WHERE fid = $1 AND state = 'good' ORDER BY device_id`;
  return (await sql<{ id: number }>(cluster(), text, [fid])).map(({ id }) => id);
}
async function cistern(...args: string[]) {
  const env = { CISTERN_URL: cluster().trackers[0]?.url as string, CISTERN_TOKEN: cluster().adminToken };
  return await runCistern(args, { env });
}
/** Asks a tracker, which is quicker than to start the command each time. */
async function ask<T>(path: string): Promise<T> {
  return (await (await cluster().request('GET', path, { token: cluster().adminToken })).json()) as T;
}
async function device(wanted: number): Promise<Device> {
  const { devices } = await ask<{ devices: Device[] }>('/v1/devices');
  return devices.find(({ id }) => id === wanted) as Device;
}
function until<T>(what: string, condition: () => Promise<T> | T) {
  return waitFor(condition, { what, timeout: 100_000, every: 100 });
}
const healthy = () =>
  until('a healthy cluster', async () => {
    const { verdict, reasons } = await ask<Status>('/v1/status');
    if (verdict !== 'healthy') throw new Error(JSON.stringify(reasons));
    return true;
  });

describe('a bit that flips on a disk', () => {
  test.each([
    ['small', 5_000],
    ['large', 3_000_000],
  ])('in a %s file is found, put aside and made good, while the file is read', async (name, size) => {
    const key = `flip/${name}`;
    const fid = await put2(key, size);
    const [victim] = (await holders(fid)) as [number];
    flipBit(await replicaOf(cluster(), fid, victim), size - 9);
    const aside = join(rootOf(cluster(), victim), 'quarantine');
    await until(
      'the bad replica to be put aside',
      () => existsSync(aside) && readdirSync(aside).some((one) => one.startsWith(`${fid}.`)),
    );
    const good = sha256(bytesOf(key, size));
    await until('two good copies again', async () => {
      expect(sha256(Buffer.from(await (await get(key)).arrayBuffer()))).toBe(good);
      const now = await holders(fid);
      const there = await Promise.all(now.map((id) => replicaOf(cluster(), fid, id)));
      return there.length === 2 && there.every((replica) => sha256(readReplica(replica)) === good);
    });
    await healthy();
    // Its next heartbeat says so.
    await until('the device to have said so', async () => {
      const { quarantined, scrub } = await device(victim);
      return (quarantined ?? 0) > 0 && (scrub?.found ?? 0) > 0;
    });
    expect((await cistern('device', 'show', String(victim))).stdout).toMatch(/^bad found, ever\t[1-9]/m);
  });
});

describe('a disk that was set back', () => {
  test('stays out until it is accepted; then what it lacks is repaired', async () => {
    const node = cluster().nodes[0] as NodePart;
    const [{ id, path }] = node.devices as [{ id: number; path: string }];
    await put2('before/1', 2_000);
    await node.stop();
    const image = `${path}.image`;
    cpSync(path, image, { recursive: true });
    await node.start();
    await cluster().ready();
    const keys: string[] = [];
    const fids: number[] = [];
    // A device that was just away is the last choice for a while.
    const gets = async () => {
      keys.push(`since/${keys.length}`);
      fids.push(await put2(keys.at(-1) as string, 2_000));
      return (await holders(fids.at(-1) as number)).includes(id);
    };
    await until('the device to be given a file', gets);
    const sequence = `SELECT sequence::int FROM device_sequences WHERE device_id = $1`;
    const text = readFileSync(join(image, 'cistern-sequence'), 'utf8');
    const noted = Math.max(...[...text.matchAll(/\d+$/gm)].map(Number));
    await until(
      'the tracker to have heard of it',
      async () =>
        ((await sql<{ sequence: number }>(cluster(), sequence, [id]))[0]?.sequence as number) > noted,
    );
    await node.stop();
    rmSync(path, { recursive: true });
    renameSync(image, path);
    await node.start();
    const out = await until('status to say so', async () =>
      (await ask<Status>('/v1/status')).reasons.find(({ what }) => what.includes('set back')),
    );
    expect(out.what).toContain(`device ${id} (h1) is out of service`);
    expect(out.next).toBe(`cistern device accept ${id}`);
    for (const key of keys) expect((await get(key)).status).toBe(200);
    // The sweep leaves alone what is so young that it may still be on its way.
    await sql(cluster(), `UPDATE locations SET at = now() - interval '1 hour'`);
    expect((await cistern('device', 'accept', String(id))).code).toBe(0);
    await until('the device to be in service', async () => (await device(id)).condition === 'ok');
    await until('all copies to be there again', async () => {
      const right = fids.map(async (fid) => {
        const [counted, there] = await Promise.all([holders(fid), holdersOf(cluster(), fid)]);
        return counted.length === 2 && counted.every((one) => there.includes(one));
      });
      return (await Promise.all(right)).every(Boolean);
    });
    await healthy();
  });

  test('is noticed too if all of it was wiped but its marker', async () => {
    const node = cluster().nodes[1] as NodePart;
    const [{ id, path }] = node.devices as [{ id: number; path: string }];
    await put2('wiped/1', 2_000);
    await until(
      'its sequence to be known',
      async () =>
        (await sql(cluster(), 'SELECT FROM device_sequences WHERE device_id = $1', [id])).length > 0,
    );
    await node.stop();
    for (const name of readdirSync(path)) {
      if (name !== 'cistern-device.json') rmSync(join(path, name), { recursive: true });
    }
    await node.start();
    await until('the device to be out', async () => (await device(id)).why?.includes('set back'));
    expect((await cistern('device', 'accept', String(id))).code).toBe(0);
    await healthy();
    expect((await get('wiped/1')).status).toBe(200);
  });
});

test('a pair of disks that were swapped is out, and right again when they are back', async () => {
  const [one, two] = cluster()
    .nodes.slice(0, 2)
    .map((node) => node.devices[0]?.path) as [string, string];
  await put2('swapped/1', 2_000);
  const swap = () => {
    renameSync(one, `${one}.aside`);
    renameSync(two, one);
    renameSync(`${one}.aside`, two);
  };
  swap();
  await until(
    'device 1 to be out',
    async () => (await device(1)).why === 'the marker file is that of device 2',
  );
  await until(
    'device 2 to be out',
    async () => (await device(2)).why === 'the marker file is that of device 1',
  );
  swap();
  await healthy();
  expect((await get('swapped/1')).status).toBe(200);
});
