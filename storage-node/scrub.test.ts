import {
  appendFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { enableFailPoints } from '../services/fail-points.ts';
import type { KnownBlob, ScrubReport } from '../services/protocol.ts';
import { formatLine } from './journal-record.ts';
import { blobPath, journalPath } from './layout.ts';
import {
  binding,
  type FakeTracker,
  random,
  scratch,
  sha256,
  sign,
  startFakeTracker,
  startTestNode,
  until,
} from './testing.ts';

const small = random(3000);
const large = random(3 * 1024 * 1024 + 17);
/** A pass a second, as fast as the disk can. */
const EAGER = { CISTERN_SCRUB_DAYS: '0.00001', CISTERN_SCRUB_BYTES_PER_SECOND: '1000000000' };

let files: ReturnType<typeof scratch>;
let tracker: FakeTracker;
let node: Awaited<ReturnType<typeof startTestNode>>;

beforeEach(async () => {
  files = scratch();
  tracker = await startFakeTracker();
});
afterEach(async () => {
  enableFailPoints({});
  await node.stop();
  await tracker.stop();
  files.remove();
});

async function start(env: Record<string, string>) {
  node = await startTestNode({ tracker, directory: files.path, env });
}
const root = () => join(files.path, 'dev1');
const at = (fid: number) => join(root(), blobPath(fid));
const aside = () => (existsSync(join(root(), 'quarantine')) ? readdirSync(join(root(), 'quarantine')) : []);
const report = () => tracker.heartbeats.at(-1)?.devices[0];
const scrubbed = () => report()?.scrub as ScrubReport;
const told = (fid: number, kind: string) =>
  tracker.heartbeats.some(({ findings }) => findings.some((one) => one.fid === fid && one.kind === kind));
const verify = (fid: number) =>
  fetch(node.at(1, fid, sign({ op: 'verify', dev: 1, fid }), '/verify'), { method: 'POST' });
const known = (fid: number, bytes: Uint8Array): KnownBlob => ({
  fid,
  size: bytes.length,
  sha256: sha256(bytes),
  ...binding,
});
/** Two whole passes from now: the first may have come by already. */
async function passes(): Promise<void> {
  for (let pass = 0; pass < 2; pass++) {
    const before = scrubbed()?.completed ?? 0;
    await until(() => (scrubbed()?.completed ?? 0) > before);
  }
}

/** Changes a bit on the disk, and leaves everything else about the file. */
function flip(fid: number, position: number): void {
  const bytes = readFileSync(at(fid));
  const fd = openSync(at(fid), 'r+');
  writeSync(fd, Buffer.from([(bytes[position] as number) ^ 4]), 0, 1, position);
}

async function journal(): Promise<{ fid: number; key?: string; size: number }[]> {
  const ticket = sign({ op: 'journal', dev: 1 });
  const text = await (await fetch(`${node.url}/devices/1/journal?ticket=${ticket}`)).text();
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

describe('the scrub', () => {
  it.each([
    ['small', small],
    ['large', large],
  ])(
    'finds a bit that flipped in a %s blob, puts it aside and tells, while others are served',
    async (_name, bytes) => {
      await start(EAGER);
      for (const fid of [1, 2, 3]) expect((await node.put(fid, bytes)).status).toBe(201);
      flip(2, bytes.length - 5);
      let served = 0;
      while (!told(2, 'corrupt')) {
        for (const fid of [1, 3]) {
          const answer = await node.get(fid, bytes);
          expect(Buffer.from(await answer.arrayBuffer()).equals(bytes)).toBe(true);
          served++;
        }
      }
      expect(served).toBeGreaterThan(0);
      await until(() => aside().length === 1);
      expect(aside()).toEqual([`2.${bytes.length}.${sha256(bytes)}`]);
      expect(existsSync(at(2))).toBe(false);
      for (const answer of [await node.get(2, bytes), await verify(2)]) {
        expect(answer.status).toBe(500);
        expect(await answer.text()).toContain('replica-corrupt');
      }
      await until(() => report()?.quarantined === 1 && report()?.blobs === 2 && scrubbed().found === 1);
      expect((await journal()).map(({ fid }) => fid)).toEqual([1, 3]);
      // What is put aside is no replica: it can be forgotten, and its place is free.
      expect((await node.remove(2)).status).toBe(404);
      expect((await node.put(2, bytes)).status).toBe(201);
      expect((await verify(2)).status).toBe(200);
      expect((await node.get(2, bytes)).status).toBe(200);
    },
  );

  it('leaves alone what is right, and says how far it is', async () => {
    await start(EAGER);
    for (const fid of [1, 1001, 5000]) expect((await node.put(fid, small)).status).toBe(201);
    await passes();
    expect(scrubbed()).toMatchObject({ blobs: 3, bytes: 9000, unverified: 0, found: 0, position: null });
    expect(aside()).toEqual([]);
    expect(await (await fetch(`${node.url}/metrics`)).text()).toMatch(
      /cistern_scrub_completed_seconds\{device="1",service="storage-node"\} [1-9]/,
    );
  });

  it('goes on after a restart where it was', async () => {
    await start({ CISTERN_SCRUB_DAYS: '0.00001', CISTERN_SCRUB_BYTES_PER_SECOND: String(160 * 1024) });
    // Each counts as 16 KiB at least: ten a second.
    for (let fid = 1; fid <= 60; fid++) expect((await node.put(fid, small)).status).toBe(201);
    // The first pass may have found the device empty.
    await until(() => (scrubbed()?.blobs ?? 0) > 5 && scrubbed().position !== null);
    await node.stop();
    const { began, position, blobs } = JSON.parse(readFileSync(join(root(), 'cistern-scrub.json'), 'utf8'));
    expect(position).toBeGreaterThan(0);
    expect(position).toBeLessThan(60);
    expect(blobs).toBeGreaterThanOrEqual(position);
    tracker.heartbeats.length = 0;
    await start(EAGER);
    await until(() => scrubbed()?.position === null && scrubbed().completed !== null);
    const first = tracker.heartbeats.find((beat) => (beat.devices[0]?.scrub?.blobs ?? 0) > 0);
    expect(first?.devices[0]?.scrub?.began).toBe(began);
    const whole = tracker.heartbeats.findLast((beat) => beat.devices[0]?.scrub?.began === began);
    // One may have been read twice: the one that the stop came upon.
    expect(whole?.devices[0]?.scrub?.blobs).toBeLessThanOrEqual(61);
  });

  it('is never faster than it may be', async () => {
    await start({ ...EAGER, CISTERN_SCRUB_DAYS: '0' });
    for (const fid of [1, 2]) expect((await node.put(fid, large)).status).toBe(201);
    await node.stop();
    tracker.heartbeats.length = 0;
    await start({ ...EAGER, CISTERN_SCRUB_BYTES_PER_SECOND: String(4 * 1024 * 1024) });
    const seen = (what: (scrub: ScrubReport) => boolean) =>
      tracker.heartbeats.map((beat) => beat.devices[0]?.scrub).find((scrub) => scrub && what(scrub));
    await until(() => seen(({ completed }) => completed !== null) !== undefined);
    const { began, completed } = seen((scrub) => scrub.completed !== null) as ScrubReport;
    expect((completed as number) - (began as number)).toBeGreaterThanOrEqual(1400);
  });

  it('does not take one failed read for a verdict, but two', async () => {
    await start({ ...EAGER, CISTERN_SCRUB_DAYS: '0' });
    const armed = join(files.path, 'points');
    const point = join(armed, 'node-read');
    expect((await node.put(1, small)).status).toBe(201);
    await node.stop();
    await start(EAGER);
    mkdirSync(armed);
    enableFailPoints({ CISTERN_FAIL_POINTS: armed, NODE_ENV: 'test' });
    writeFileSync(point, 'EIO');
    await until(() => !existsSync(point));
    await passes();
    expect(aside()).toEqual([]);
    // Now all reads fail.
    await until(() => {
      if (!existsSync(point)) writeFileSync(point, 'EIO');
      return told(1, 'unreadable');
    });
    await until(() => aside().length === 1);
  });

  it('can be switched off; what somebody comes across is looked at all the same', async () => {
    await start({ CISTERN_SCRUB_DAYS: '0', CISTERN_CACHE_BYTES: '0' });
    for (const fid of [1, 2]) expect((await node.put(fid, small)).status).toBe(201);
    flip(1, 7);
    flip(2, 7);
    expect((await node.get(1, small)).status).toBe(500);
    await until(() => aside().length === 1);
    expect(scrubbed()).toMatchObject({ days: 0, began: null });
    expect(existsSync(at(2))).toBe(true);
  });
});

describe('a blob without a record', () => {
  /** The journal of an older version, or one whose end was lost. */
  async function forget(): Promise<void> {
    await node.stop();
    rmSync(join(root(), 'journal'), { recursive: true });
    await start(EAGER);
  }

  it('gets one, with its name, from what the cluster knows', async () => {
    await start(EAGER);
    for (const fid of [1, 2]) expect((await node.put(fid, fid === 1 ? small : large)).status).toBe(201);
    await forget();
    await passes();
    expect(scrubbed().unverified).toBe(2);
    expect(await journal()).toEqual([]);
    tracker.blobs = [known(1, small), known(2, large)];
    await passes();
    expect(scrubbed().unverified).toBe(0);
    const expected = [known(1, small), known(2, large)];
    expect(await journal()).toMatchObject(expected);
    // The checksums too, so that ranges are checked again.
    expect(readFileSync(join(root(), journalPath(2)), 'utf8')).toContain('"crc":"');
  });

  it('is bad if its bytes are not those that the cluster knows, and left alone if it knows none', async () => {
    await start(EAGER);
    for (const fid of [1, 2]) expect((await node.put(fid, small)).status).toBe(201);
    await forget();
    tracker.blobs = [known(1, random(3000))];
    await until(() => told(1, 'corrupt') && aside().length === 1);
    expect(existsSync(at(2))).toBe(true);
  });
});

describe('a record', () => {
  it('that is wrong is put right, if the cluster knows the bytes', async () => {
    await start({ ...EAGER, CISTERN_SCRUB_DAYS: '0' });
    expect((await node.put(1, small)).status).toBe(201);
    await node.stop();
    const path = join(root(), journalPath(1));
    appendFileSync(path, formatLine({ fid: 1, size: 3000, sha256: '0'.repeat(64), at: 1 }));
    tracker.blobs = [known(1, small)];
    await start(EAGER);
    await passes();
    expect(aside()).toEqual([]);
    expect(await journal()).toMatchObject([known(1, small)]);
  });
});

describe('a replica that was put aside', () => {
  it('comes back when it is verified and right after all', async () => {
    await start({ ...EAGER, CISTERN_SCRUB_DAYS: '0', CISTERN_CACHE_BYTES: '0' });
    expect((await node.put(1, small)).status).toBe(201);
    flip(1, 0);
    expect((await node.get(1, small)).status).toBe(500);
    await until(() => aside().length === 1);
    writeFileSync(join(root(), 'quarantine', aside()[0] as string), small);
    expect(await (await verify(1)).json()).toEqual({ size: 3000, sha256: sha256(small) });
    expect((await node.get(1, small)).status).toBe(200);
    await until(() => report()?.quarantined === 0 && report()?.blobs === 1);
  });

  it('is removed after its days, also by a later run', async () => {
    await start({ CISTERN_SCRUB_DAYS: '0', CISTERN_CACHE_BYTES: '0' });
    expect((await node.put(1, small)).status).toBe(201);
    flip(1, 0);
    expect((await node.get(1, small)).status).toBe(500);
    await until(() => aside().length === 1);
    await node.stop();
    // Something else in the directory is not ours to remove.
    renameSync(join(root(), 'tmp'), join(root(), 'quarantine', 'notes'));
    await start({ CISTERN_QUARANTINE_DAYS: '0' });
    await until(() => aside().length === 1);
    expect(aside()).toEqual(['notes']);
  });
});
