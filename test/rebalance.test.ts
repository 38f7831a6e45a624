// Rebalancing on a real cluster: a host with an empty disk joins, and data moves there until all are filled alike. Each
// disk is a small file system of its own, since how full they are is what it goes by.
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { type NodePart, useCluster } from './support/cluster.ts';
import { FailPoints } from './support/fail-points.ts';
import { filesOf, sql } from './support/files.ts';
import { lacksRoot, needs } from './support/needs.ts';
import { waitFor } from './support/wait.ts';

const FILES = 56;
const SIZE = 512 * 1024;
const BAND = 0.1;

const points = new FailPoints();
const cluster = useCluster(
  points.into({
    nodes: 4,
    devices: 1,
    env: {
      tracker: {
        CISTERN_REBALANCE_BAND: String(BAND),
        // So slow that it can be stopped on its way: all that has to move is about 14 MiB.
        CISTERN_REBALANCE_BYTES_PER_SECOND: String(2 * 1024 ** 2),
        // What a crash leaves is found soon.
        CISTERN_SWEEP_EVERY_SECONDS: '1',
      },
      node: { CISTERN_CACHE_BYTES: '0' },
    },
  }),
);
const { put, get } = filesOf(cluster);
const mounted = new Set<string>();
afterAll(() => {
  for (const path of mounted) execFileSync('umount', ['-l', path]);
  points.remove();
});

const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

interface Rebalance {
  enabled: boolean;
  started: string | null;
  finished: string | null;
  movedBlobs: number;
  movedBytes: number;
  mean: number;
  devices: { id: number; host: string; fill: number }[];
}

async function rebalance(enabled?: boolean): Promise<Rebalance> {
  const [method, body] = enabled === undefined ? ['GET', {}] : ['PATCH', { body: { enabled } }];
  const answer = await cluster().request(method as string, '/v1/rebalance', {
    token: cluster().adminToken,
    ...(body as object),
  });
  expect(answer.status).toBe(200);
  return (await answer.json()) as Rebalance;
}

/** Each blob whose copies are on less than two hosts. */
const short = () =>
  sql(
    cluster(),
    `SELECT b.fid FROM blobs b WHERE b.state = 'live' AND (
      SELECT count(DISTINCT d.host_id) FROM locations l JOIN devices d ON d.id = l.device_id
      WHERE l.fid = b.fid AND l.state = 'good') < 2`,
    [],
  );
const surplus = () =>
  sql(cluster(), `SELECT fid FROM locations WHERE state = 'good' GROUP BY fid HAVING count(*) > 2`, []);

async function mountDisk(node: NodePart): Promise<void> {
  const path = node.devices[0]?.path as string;
  await node.stop();
  renameSync(path, `${path}.old`);
  mkdirSync(path);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=48m', 'tmpfs', path]);
  mounted.add(path);
  cpSync(`${path}.old`, path, { recursive: true });
  rmSync(`${path}.old`, { recursive: true });
}

test('a host that joins is filled like the others, with no file short of a copy meanwhile', async (context) => {
  needs(context, lacksRoot());
  const { nodes, trackers } = cluster();
  for (const node of nodes) await mountDisk(node);
  const [joining, ...others] = nodes.toReversed() as [NodePart, ...NodePart[]];
  for (const node of others) await node.start();
  const takePart = async () => (await rebalance()).devices.length;
  await waitFor(async () => (await takePart()) === 3, {
    what: 'three devices to take part',
    timeout: 30_000,
  });
  // By chance three hosts may be filled unevenly enough for it to begin before the fourth is there.
  await rebalance(false);
  const sums = new Map<string, string>();
  for (let i = 0; i < FILES; i++) {
    const bytes = randomBytes(SIZE);
    sums.set(`moved/${i}`, digest(bytes));
    expect((await put(`moved/${i}`, bytes)).status).toBe(201);
  }
  const look = async () => {
    expect(await short()).toEqual([]);
    const key = `moved/${Math.floor(Math.random() * FILES)}`;
    expect(digest(new Uint8Array(await (await get(key)).arrayBuffer())), key).toBe(sums.get(key));
    return rebalance();
  };
  expect(await look()).toMatchObject({ started: null, movedBlobs: 0 });

  // Between the copy and what it frees, the tracker dies.
  points.arm('repair-added', 'kill');
  await rebalance(true);
  await joining.start();
  const struck = await points.struck(cluster(), 'repair-added');
  expect(await surplus()).not.toEqual([]);
  await struck.start();
  await cluster().ready();
  await sql(cluster(), `UPDATE rebalance SET lease = '-infinity'`);
  await waitFor(async () => (await look()).movedBlobs >= 3, {
    what: 'some files to be moved',
    timeout: 60_000,
  });
  await rebalance(false);
  const free = async () =>
    (await sql(cluster(), 'SELECT 1 FROM rebalance WHERE lease <= now()', [])).length > 0;
  await waitFor(free, { what: 'moves under way to end', timeout: 60_000 });
  const stopped = await look();
  expect(stopped).toMatchObject({ enabled: false, started: expect.any(String) });

  await trackers[0]?.kill();
  await trackers[0]?.start();
  await cluster().ready();
  expect(await look()).toMatchObject({ movedBlobs: stopped.movedBlobs, started: stopped.started });
  await rebalance(true);
  await waitFor(async () => (await look()).started === null, { what: 'an even fill', timeout: 240_000 });

  const done = await rebalance();
  expect(done.movedBlobs).toBeGreaterThan(stopped.movedBlobs);
  expect(done.movedBytes).toBe(done.movedBlobs * SIZE);
  expect(done.devices.map(({ host }) => host)).toEqual(['h1', 'h2', 'h3', 'h4']);
  for (const { host, fill } of done.devices) expect(Math.abs(fill - done.mean), host).toBeLessThan(BAND);
  expect(await short()).toEqual([]);
  await waitFor(async () => (await surplus()).length === 0, { what: 'what the crash left to be trimmed' });
  for (const [key, sum] of sums) {
    expect(digest(new Uint8Array(await (await get(key)).arrayBuffer())), key).toBe(sum);
  }
}, 420_000);
