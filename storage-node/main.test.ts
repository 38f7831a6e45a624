import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { delay } from '../services/lifecycle.ts';
import { liveRecords } from './journal-record.ts';
import { journalPath } from './layout.ts';
import {
  blobClient,
  CLUSTER_KEY,
  type FakeTracker,
  random,
  scratch,
  startFakeTracker,
  until,
} from './testing.ts';

let files: ReturnType<typeof scratch>;
let tracker: FakeTracker;
let child: ChildProcess | undefined;

beforeEach(async () => {
  files = scratch();
  tracker = await startFakeTracker();
});
afterEach(async () => {
  if (child !== undefined && child.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  child = undefined;
  await tracker.stop();
  files.remove();
});

function run(env: Record<string, string> = {}): ChildProcess {
  mkdirSync(join(files.path, 'dev1'), { recursive: true });
  child = spawn(process.execPath, ['storage-node/main.ts'], {
    env: {
      PATH: process.env.PATH,
      CISTERN_CLUSTER_KEY: CLUSTER_KEY,
      CISTERN_HOST: 'h1',
      CISTERN_PORT: '0',
      CISTERN_TRACKERS: tracker.url,
      CISTERN_DEVICES: join(files.path, 'dev1'),
      CISTERN_RESERVE_BYTES: '0',
      CISTERN_HEARTBEAT_SECONDS: '0.1',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return child;
}

async function announced(process: ChildProcess): Promise<string> {
  if (process.stdout === null) throw new Error('no stdout');
  const [line] = await once(createInterface(process.stdout), 'line');
  const said = JSON.parse(String(line));
  expect(said).toEqual({
    service: 'storage-node',
    url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
  });
  return said.url;
}

describe('the process', () => {
  it('says where it listens, finishes what is in flight on SIGTERM, and exits 0', async () => {
    const process = run();
    process.stderr?.resume();
    const url = await announced(process);
    const ready = async () => (await fetch(`${url}/readyz`)).ok;
    await until(ready);
    expect(await (await fetch(`${url}/metrics`)).text()).toMatch(
      /cistern_device_condition\{device="1",condition="ok",service="storage-node"\} 1/,
    );
    const bytes = random(600_000);
    let goOn = () => {};
    const body = new ReadableStream({
      async start(controller) {
        controller.enqueue(bytes.subarray(0, 300_000));
        await new Promise<void>((resolve) => {
          goOn = resolve;
        });
        controller.enqueue(bytes.subarray(300_000));
        controller.close();
      },
    });
    const node = blobClient(url);
    const put = fetch(node.putUrl(1), { method: 'PUT', body, duplex: 'half' } as RequestInit);
    const received = async () =>
      Number(/bytes_total.*received.* (\d+)/.exec(await (await fetch(`${url}/metrics`)).text())?.[1] ?? 0);
    expect((await node.put(2, random(10))).status).toBe(201);
    await until(async () => (await received()) === 10);
    const exited = once(process, 'exit');
    process.kill('SIGTERM');
    await until(() =>
      fetch(`${url}/healthz`).then(
        () => false,
        () => true,
      ),
    );
    goOn();
    expect((await put).status).toBe(201);
    const answered = Date.now();
    expect(await exited).toEqual([0, null]);
    // Kept-alive connections must not hold it up.
    expect(Date.now() - answered).toBeLessThan(5_000);
  });

  it.each([
    ['no host', { CISTERN_HOST: '' }, 'CISTERN_HOST'],
    ['a directory of another name', { CISTERN_DEVICES: '/srv/disk1' }, 'CISTERN_DEVICES'],
    ['a tracker that is no URL', { CISTERN_TRACKERS: 'tracker:7500' }, 'CISTERN_TRACKERS'],
    ['a port that is no number', { CISTERN_PORT: 'many' }, 'CISTERN_PORT'],
  ])('ends with one line that names the setting: %s', async (_name, env, setting) => {
    const process = run(env);
    const [[code], said] = await Promise.all([once(process, 'exit'), text(process.stderr as never)]);
    expect(code).toBe(2);
    expect(said).toContain(setting);
    expect(said.trim().split('\n')).toHaveLength(1);
  });

  it('refuses one directory under two names', async () => {
    mkdirSync(join(files.path, 'dev1'));
    symlinkSync(join(files.path, 'dev1'), join(files.path, 'dev2'));
    const process = run({ CISTERN_DEVICES: `${join(files.path, 'dev1')},${join(files.path, 'dev2')}` });
    const [[code], said] = await Promise.all([once(process, 'exit'), text(process.stderr as never)]);
    expect(code).toBe(2);
    expect(said).toContain('same directory');
  });
});

describe('killed', () => {
  it('has every blob that it acknowledged on record, whatever else it was doing', async () => {
    const process = run();
    process.stderr?.resume();
    const node = blobClient(await announced(process));
    const bytes = random(500);
    await until(async () => (await node.put(1, bytes)).status === 201);
    const kept = new Set([1]);
    const touched = new Set<number>();
    let fid = 1;
    const work = async () => {
      for (;;) {
        const mine = ++fid;
        if ((await node.put(mine, bytes)).status === 201) kept.add(mine);
        // So many are removed that the journal is being rewritten at times.
        if (mine % 7 === 0) continue;
        touched.add(mine);
        kept.delete(mine);
        await node.remove(mine);
      }
    };
    const workers = Array.from({ length: 8 }, () => work().catch(() => {}));
    while (kept.size < 50) await delay(10);
    process.kill('SIGKILL');
    await Promise.all([once(process, 'exit'), ...workers]);
    const root = join(files.path, 'dev1');
    const recorded = new Set<number>();
    for (const first of [0, 1000]) {
      const path = join(root, journalPath(first));
      for (const one of liveRecords(existsSync(path) ? readFileSync(path, 'utf8') : '').keys())
        recorded.add(one);
    }
    for (const one of kept) expect(recorded, `blob ${one}`).toContain(one);
    for (const one of recorded) expect(kept.has(one) || touched.has(one) || one > fid - 9).toBe(true);
  }, 120_000);
});

describe('without a tracker', () => {
  it('serves what its disks hold, takes no writes, and registers when one comes', async () => {
    const first = run();
    first.stderr?.resume();
    const before = blobClient(await announced(first));
    const bytes = random(100);
    await until(async () => (await before.put(1, bytes)).status === 201);
    first.kill('SIGTERM');
    await once(first, 'exit');
    const { port } = new URL(tracker.url);
    await tracker.stop();
    const second = run();
    second.stderr?.resume();
    const after = blobClient(await announced(second));
    expect((await after.get(1, bytes)).status).toBe(200);
    expect((await after.put(2, bytes)).status).toBe(503);
    tracker = await startFakeTracker(Number(port));
    await until(async () => (await after.put(2, bytes)).status === 201);
  });
});
