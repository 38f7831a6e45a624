import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { enableFailPoints } from '../services/fail-points.ts';
import { createLogger } from '../services/logging.ts';
import { needs } from '../test/support/needs.ts';
import { Device } from './device.ts';
import { Findings } from './findings.ts';
import { MARKER } from './marker.ts';
import {
  type FakeTracker,
  lacksMount,
  type NodeOptions,
  random,
  scratch,
  sign,
  startFakeTracker,
  startTestNode,
  unfinishedBlobs,
  until,
} from './testing.ts';

const small = random(1000);
let files: ReturnType<typeof scratch>;
let tracker: FakeTracker;
let running: { stop(): Promise<void> }[];

beforeEach(async () => {
  files = scratch();
  tracker = await startFakeTracker();
  running = [];
});
afterEach(async () => {
  await Promise.all(running.map((node) => node.stop()));
  await tracker.stop();
  files.remove();
});

async function start(more: Partial<NodeOptions> = {}) {
  const node = await startTestNode({ tracker, directory: files.path, ...more });
  running.push(node);
  return node;
}
const last = (dev: number) => tracker.heartbeats.at(-1)?.devices.find(({ id }) => id === dev);
const dev1 = () => join(files.path, 'dev1');

describe('the marker file', () => {
  it('is written once, to an empty directory, and names cluster and device', async () => {
    mkdirSync(join(dev1(), 'lost+found'), { recursive: true });
    const node = await start();
    const marker = JSON.parse(readFileSync(join(dev1(), MARKER), 'utf8'));
    expect(marker).toMatchObject({ cluster: 'test-cluster', device: 1 });
    await node.stop();
    running = [];
    await start();
    expect(JSON.parse(readFileSync(join(dev1(), MARKER), 'utf8'))).toEqual(marker);
    expect(tracker.registrations.at(-1)?.devices[0]?.uuid).toBe(marker.uuid);
  });

  it('is never written where other files are; the other device serves', async () => {
    mkdirSync(dev1());
    writeFileSync(join(dev1(), 'holiday.jpg'), 'x');
    const node = await start({ devices: [1, 2] });
    await until(() => last(1)?.condition === 'out');
    expect(last(1)?.why).toContain('no marker file');
    expect(readdirSync(dev1())).toEqual(['holiday.jpg']);
    expect((await node.put(1, small)).status).toBe(503);
    expect((await fetch(node.putUrl(1, { dev: 2 }), { method: 'PUT', body: small })).status).toBe(201);
  });

  it.each([
    ['of another cluster', { cluster: 'other' }, 'another cluster'],
    ['of another device', { device: 9 }, 'device'],
    ['that is damaged', { uuid: 'x' }, 'damaged'],
  ])('%s takes the device out until it is right again', async (_name, change, why) => {
    const node = await start({ devices: [1, 2] });
    expect((await node.put(1, small)).status).toBe(201);
    expect((await node.get(1, small)).status).toBe(200);
    const path = join(dev1(), MARKER);
    const good = readFileSync(path, 'utf8');
    writeFileSync(path, JSON.stringify({ ...JSON.parse(good), ...change }));
    await until(() => last(1)?.condition === 'out');
    expect(last(1)?.why).toContain(why);
    expect((await node.get(1, small)).status).toBe(503);
    expect((await node.put(2, small)).status).toBe(503);
    expect(last(2)?.condition).toBe('ok');
    writeFileSync(path, good);
    await until(() => last(1)?.condition === 'ok');
    expect((await node.put(2, small)).status).toBe(201);
    expect((await node.get(1, small)).status).toBe(200);
  });
});

describe('a disk that is gone', () => {
  it('is 503, never 404, for reads, writes, deletes and the inventory, at once', async () => {
    // Heartbeats so rare that only the request itself can notice.
    const node = await start({ env: { CISTERN_HEARTBEAT_SECONDS: '50' } });
    expect((await node.put(1, small)).status).toBe(201);
    for (const empty of [false, true]) {
      renameSync(dev1(), `${dev1()}.gone`);
      if (empty) mkdirSync(join(dev1(), 'tmp'), { recursive: true });
      const inventory = `${node.url}/devices/1/blobs?ticket=${sign({ op: 'inventory', dev: 1 })}`;
      expect((await fetch(inventory)).status).toBe(503);
      expect((await node.get(1, small)).status).toBe(503);
      expect((await node.remove(1)).status).toBe(503);
      expect((await node.put(2, small)).status).toBe(503);
      rmSync(dev1(), { recursive: true, force: true });
      renameSync(`${dev1()}.gone`, dev1());
      await running.pop()?.stop();
      Object.assign(node, await start({ env: { CISTERN_HEARTBEAT_SECONDS: '50' } }));
    }
  });

  it('is noticed by the file system that a write lands on', async (context) => {
    needs(context, lacksMount());
    mkdirSync(dev1());
    // A directory for temporary files on the disk below, as a careless restore might leave one.
    mkdirSync(join(dev1(), 'tmp'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'none', dev1()]);
    const node = await start({ env: { CISTERN_HEARTBEAT_SECONDS: '50' } });
    expect((await node.put(1, small)).status).toBe(201);
    execFileSync('umount', ['-l', dev1()]);
    expect((await node.put(2, small)).status).toBe(503);
    expect(unfinishedBlobs(dev1())).toEqual([]);
    expect(existsSync(join(dev1(), '0/000/000/0000000002.fid'))).toBe(false);
  });
});

describe('space', () => {
  it('is kept for the reserve, and counts what open uploads may need', async () => {
    const first = await start();
    await until(() => last(1) !== undefined);
    const free = last(1)?.free ?? 0;
    await first.stop();
    running = [];
    const node = await start({ env: { CISTERN_RESERVE_BYTES: String(free - 100 * 2 ** 20) } });
    const huge = () => fetch(node.putUrl(1, { max: 2 ** 40 }), { method: 'PUT', body: stream(), ...half });
    const answer = await huge();
    expect(answer.status).toBe(507);
    expect(await answer.text()).toContain('insufficient-storage');
    expect((await fetch(node.putUrl(1, { max: 2 ** 40 }), { method: 'PUT', body: small })).status).toBe(201);
  });

  it('that runs out ends an upload with 507, and leaves nothing', async (context) => {
    needs(context, lacksMount());
    mkdirSync(dev1());
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'none', dev1()]);
    try {
      const node = await start();
      const bytes = random(1_500_000);
      expect((await node.put(1, bytes)).status).toBe(201);
      // Two at once: there is room for one, and the reservation knows it before the disk does.
      const answers = await Promise.all([node.put(2, bytes), node.put(3, bytes)]);
      expect(answers.map(({ status }) => status).sort()).toEqual([201, 507]);
      // Somebody else fills the disk while an upload is under way.
      expect((await node.remove(answers[0]?.status === 201 ? 2 : 3)).status).toBe(204);
      await until(() => (last(1)?.free ?? 0) > 2_000_000);
      let goOn = () => {};
      const body = new ReadableStream({
        async start(controller) {
          controller.enqueue(bytes.subarray(0, 700_000));
          await new Promise<void>((resolve) => {
            goOn = resolve;
          });
          for (let at = 700_000; at < bytes.length; at += 100_000) {
            controller.enqueue(bytes.subarray(at, at + 100_000));
          }
          controller.close();
        },
      });
      const answer = fetch(node.putUrl(4, { max: 1_500_000 }), { method: 'PUT', body, ...half });
      await until(() => unfinishedBlobs(dev1()).length === 1);
      try {
        writeFileSync(join(dev1(), 'filler'), Buffer.alloc(4_000_000));
      } catch {}
      goOn();
      expect((await answer).status).toBe(507);
      await until(() => unfinishedBlobs(dev1()).length === 0);
      // Removing must work on a full disk.
      expect((await node.remove(1)).status).toBe(204);
    } finally {
      await running.pop()?.stop();
      execFileSync('umount', ['-l', dev1()]);
    }
  });
});

describe('a device', () => {
  it('loses the temporary files of an earlier run at the start', async () => {
    const node = await start();
    await node.stop();
    running = [];
    writeFileSync(join(dev1(), 'tmp', '7.some-session.1'), 'half');
    await start();
    expect(unfinishedBlobs(dev1())).toEqual([]);
  });

  it('takes no writes while the clock is off, and says by how much', async () => {
    const node = await start();
    expect((await node.put(1, small)).status).toBe(201);
    tracker.clockError = -60_000;
    await until(() => last(1)?.condition === 'readonly');
    expect(last(1)?.why).toMatch(/clock .* off by 60 s/);
    expect((await node.put(2, small)).status).toBe(503);
    expect((await node.get(1, small)).status).toBe(200);
    tracker.clockError = 0;
    await until(() => last(1)?.condition === 'ok');
    expect((await node.put(2, small)).status).toBe(201);
  });

  it('stays read-only after a write that the disk failed, whatever later looks say', async () => {
    await (await start()).stop();
    running = [];
    const log = createLogger({ level: 'silent', service: 'test' });
    const findings = new Findings();
    const cluster = () => 'test-cluster';
    const device = new Device({
      id: 1,
      path: dev1(),
      reserve: 0,
      volumes: { upTo: 0, most: 1 },
      log,
      findings,
      cluster,
      onOut() {},
      onGone() {},
    });
    await device.look();
    expect(device.state.condition).toBe('ok');
    const failing = () => Promise.reject(Object.assign(new Error('i/o'), { code: 'EIO' }));
    await expect(device.attempt('read', 1, failing)).rejects.toMatchObject({ problem: 'replica-corrupt' });
    expect(findings.batch()).toEqual([{ dev: 1, fid: 1, kind: 'unreadable' }]);
    expect(device.state.condition).toBe('ok');
    await expect(device.attempt('write', 1, failing)).rejects.toMatchObject({
      problem: 'device-unavailable',
    });
    await device.look();
    expect(device.report()).toMatchObject({ condition: 'readonly', errors: 2 });
  });

  it('takes writes again after an operator had it tried, if it keeps what is written', async () => {
    const node = await start();
    const points = join(files.path, 'points');
    mkdirSync(points);
    enableFailPoints({ CISTERN_FAIL_POINTS: points, NODE_ENV: 'test' });
    const check = () => {
      const ticket = sign({ op: 'check', dev: 1 });
      return fetch(`${node.url}/devices/1/check?ticket=${ticket}`, { method: 'POST' });
    };
    try {
      writeFileSync(join(points, 'node-written'), 'EIO');
      expect((await node.put(1, small)).status).toBe(503);
      await until(() => last(1)?.condition === 'readonly');
      expect(last(1)?.why).toContain('cistern device check 1');
      // It fails again: the disk is not well.
      writeFileSync(join(points, 'node-read'), 'EIO');
      expect((await check()).status).toBe(503);
      expect((await node.put(1, small)).status).toBe(503);
      expect((await check()).status).toBe(204);
      expect((await node.put(1, small)).status).toBe(201);
      await until(() => last(1)?.condition === 'ok');
      expect(unfinishedBlobs(dev1())).toEqual([]);
    } finally {
      enableFailPoints({});
    }
  });

  it('is offered to the tracker again when its disk was set back while the node ran', async () => {
    const node = await start();
    expect((await node.put(1, small)).status).toBe(201);
    await until(() => last(1)?.sequence === 1);
    const image = join(files.path, 'image');
    cpSync(dev1(), image, { recursive: true });
    expect((await node.put(2, small)).status).toBe(201);
    await until(() => last(1)?.sequence === 2);
    const before = tracker.registrations.length;
    renameSync(dev1(), `${dev1()}.gone`);
    await until(() => last(1)?.condition === 'out');
    renameSync(image, dev1());
    await until(() => tracker.registrations.length > before && last(1)?.condition === 'ok');
    expect(tracker.registrations.at(-1)?.devices[0]?.sequence).toBe(1);
  });

  it('is read-only when its directory is', async () => {
    // Root may write everywhere but on a file system that is mounted read-only.
    const root = process.getuid?.() === 0;
    mkdirSync(dev1());
    if (root) execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'none', dev1()]);
    const allow = (writes: boolean) => {
      if (root) execFileSync('mount', ['-o', `remount,${writes ? 'rw' : 'ro'}`, dev1()], { stdio: 'ignore' });
      else chmodSync(dev1(), writes ? 0o755 : 0o555);
    };
    try {
      const node = await start();
      expect((await node.put(1, small)).status).toBe(201);
      // Mounting read-only has to wait until the journal's file is closed.
      await until(() => {
        try {
          allow(false);
          return true;
        } catch {
          return false;
        }
      });
      await until(() => last(1)?.condition === 'readonly');
      expect((await node.get(1, small)).status).toBe(200);
      expect((await node.put(2, small)).status).toBe(503);
      allow(true);
      await until(() => last(1)?.condition === 'ok');
    } finally {
      if (root) execFileSync('umount', ['-l', dev1()]);
    }
  });
});

const half = { duplex: 'half' } as RequestInit;
function stream() {
  return new ReadableStream({
    start(controller) {
      controller.enqueue(small);
      controller.close();
    },
  });
}
