// A node whose small blobs are in volumes: what it serves and refuses when its disk is full, damaged or gone.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { needs } from '../../test/support/needs.ts';
import {
  binding,
  type FakeTracker,
  lacksMount,
  random,
  scratch,
  sha256,
  sign,
  startFakeTracker,
  startTestNode,
  until,
} from '../testing.ts';

const KiB = 1024;
const ENV = { CISTERN_VOLUME_BLOB_BYTES: String(64 * KiB), CISTERN_VOLUME_BYTES: String(1024 * KiB) };
type Node = Awaited<ReturnType<typeof startTestNode>>;

let files: ReturnType<typeof scratch>;
let tracker: FakeTracker;
let node: Node;

beforeEach(async () => {
  files = scratch();
  tracker = await startFakeTracker();
});
afterEach(async () => {
  await node.stop();
  await tracker.stop();
  files.remove();
});

const root = () => join(files.path, 'dev1');
async function start(env: Record<string, string> = {}): Promise<void> {
  node = await startTestNode({ tracker, directory: files.path, env: { ...ENV, ...env } });
}
const report = () => tracker.heartbeats.at(-1)?.devices[0];
const volumePath = (number = 1) => join(root(), 'volumes', `000000000${number}.vol`);
const bytesOf = async (answer: Response) => Buffer.from(await answer.arrayBuffer());

it('serves them whole and in parts, also when it is started again', async () => {
  await start();
  const bytes = random(50 * KiB);
  expect((await node.put(1, bytes)).status).toBe(201);
  expect((await node.put(1, bytes)).status).toBe(200);
  await node.stop();
  await start();
  expect(await bytesOf(await node.get(1, bytes))).toEqual(bytes);
  const part = await node.get(1, bytes, { range: 'bytes=100-20000' });
  expect(part.status).toBe(206);
  expect(await bytesOf(part)).toEqual(bytes.subarray(100, 20_001));
  await until(() => report()?.blobs === 1 && report()?.highestFid === 1);
  expect((await node.remove(1)).status).toBe(204);
  expect((await node.remove(1)).status).toBe(404);
  expect((await node.get(1, bytes)).status).toBe(404);
});

it('finds a bit that flipped, serves no wrong byte, and puts the replica aside', async () => {
  await start({ CISTERN_SCRUB_DAYS: '0.000001', CISTERN_CACHE_BYTES: '0' });
  const blobs = [random(3000), random(3000), random(3000)];
  for (const [i, bytes] of blobs.entries()) await node.put(i + 1, bytes);
  tracker.blobs = blobs.map((bytes, i) => ({ fid: i + 1, size: 3000, sha256: sha256(bytes), ...binding }));
  const bad = blobs[1] as Buffer<ArrayBuffer>;
  const volume = readFileSync(volumePath());
  const at = volume.indexOf(bad) + 1234;
  volume.writeUInt8(volume.readUInt8(at) ^ 8, at);
  writeFileSync(volumePath(), volume);
  await until(() => report()?.quarantined === 1 && report()?.blobs === 2);
  expect(tracker.heartbeats.flatMap(({ findings }) => findings)).toContainEqual(
    expect.objectContaining({ fid: 2, kind: 'corrupt' }),
  );
  const [aside = ''] = readdirSync(join(root(), 'quarantine'));
  expect(aside).toBe(`2.3000.${sha256(bad)}`);
  expect(readFileSync(join(root(), 'quarantine', aside))).toEqual(
    volume.subarray(at - 1234, at - 1234 + 3000),
  );
  expect(await (await node.get(2, bad)).text()).toContain('replica-corrupt');
  expect(await bytesOf(await node.get(3, blobs[2] as Buffer))).toEqual(blobs[2]);
  // Its place is free for a good copy.
  expect((await node.put(2, bad)).status).toBe(201);
  expect(await bytesOf(await node.get(2, bad))).toEqual(bad);
});

it('takes nothing on a full disk, but removes; what was removed makes room', async (context) => {
  needs(context, lacksMount());
  mkdirSync(root());
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'none', root()]);
  try {
    await start({ CISTERN_HEARTBEAT_SECONDS: '0.1' });
    const bytes = random(50 * KiB);
    let fid = 0;
    while ((await node.put(fid + 1, bytes)).status === 201) fid++;
    expect(fid).toBeGreaterThan(100);
    expect(await (await node.put(fid + 1, bytes)).text()).toContain('insufficient-storage');
    for (const one of [1, fid]) expect(await bytesOf(await node.get(one, bytes))).toEqual(bytes);
    // Whole volumes are dead then, so that their space is free without a place for what is alive.
    for (let one = 1; one <= 60; one++) expect((await node.remove(one)).status).toBe(204);
    await until(async () => (await node.put(fid + 1, bytes)).status === 201);
    expect(await bytesOf(await node.get(fid + 1, bytes))).toEqual(bytes);
  } finally {
    await node.stop();
    execFileSync('umount', ['-l', root()]);
    await start();
  }
});

it('writes nothing in the place of a disk that is gone', async (context) => {
  needs(context, lacksMount());
  mkdirSync(root());
  // Of what a disk has, as a careless restore might leave it below.
  for (const directory of ['tmp', 'volumes']) mkdirSync(join(root(), directory));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'none', root()]);
  await start({ CISTERN_HEARTBEAT_SECONDS: '50' });
  expect((await node.put(1, random(10))).status).toBe(201);
  execFileSync('umount', ['-l', root()]);
  expect((await node.put(2, random(10))).status).toBe(503);
  expect(readdirSync(join(root(), 'volumes'))).toEqual([]);
});

it('says of blobs whose volume vanished that they are missing', async () => {
  await start({ CISTERN_CACHE_BYTES: '0' });
  const bytes = random(100);
  await node.put(1, bytes);
  execFileSync('rm', [volumePath()]);
  const answer = await node.get(1, bytes);
  expect([answer.status, await answer.text()]).toEqual([404, expect.stringContaining('replica-missing')]);
  const ticket = sign({ op: 'inventory', dev: 1 });
  const listed = await (await fetch(`${node.url}/devices/1/blobs?ticket=${ticket}`)).json();
  expect(listed).toEqual({ blobs: [] });
  expect((await node.put(1, bytes)).status).toBe(201);
  expect(await bytesOf(await node.get(1, bytes))).toEqual(bytes);
});
