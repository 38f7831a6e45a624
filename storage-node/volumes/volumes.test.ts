// Blobs in volumes: what was stored is there, whatever happened to the process; what was removed is not.
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { enableFailPoints } from '../../services/fail-points.ts';
import { DirectorySync } from '../directory-sync.ts';
import { Journal } from '../journal.ts';
import { blobPath, leaves } from '../layout.ts';
import { binding, random, scratch, sha256, until } from '../testing.ts';
import { encode } from './record.ts';
import { Slots } from './slots.ts';
import { count, open, read, type Shelf } from './testing.ts';
import { VolumeFiles } from './volume-files.ts';

const KiB = 1024;
let files: ReturnType<typeof scratch>;
let shelves: Shelf[];
let shelf: Shelf;

beforeEach(async () => {
  files = scratch();
  shelves = [];
  shelf = await start();
});
afterEach(async () => {
  enableFailPoints({});
  for (const { store, journal } of shelves) {
    await store.close().catch(() => {});
    await journal.close().catch(() => {});
  }
  for (const { failures } of shelves) expect(failures).toEqual([]);
  files.remove();
});

/** A process that starts, beside those before it, which were killed. */
async function start(options: Parameters<typeof open>[1] = {}): Promise<Shelf> {
  const started = await open(files.path, options);
  shelves.push(started);
  return started;
}

const volumes = () => readdirSync(join(files.path, 'volumes')).filter((name) => name.endsWith('.vol'));
const volumePath = (number: number) => join(files.path, 'volumes', `000000000${number}.vol`);
const fidsOf = async ({ store }: Shelf) => (await store.list(0, 10_000)).map(({ fid }) => fid);
/** Where a blob's bytes are in a volume. */
const placeOf = (bytes: Buffer, number = 1) => readFileSync(volumePath(number)).indexOf(bytes);

/** The next read of a volume, as recovery and compaction make it, fails as a bad disk does. */
function failToRead(): void {
  const points = join(files.path, 'points');
  mkdirSync(points, { recursive: true });
  writeFileSync(join(points, 'node-volume-read'), 'EIO');
  enableFailPoints({ CISTERN_FAIL_POINTS: points, NODE_ENV: 'test' });
}

/** Changes a byte of a volume. */
function damage(number: number, at: number): void {
  const bytes = readFileSync(volumePath(number));
  bytes[at] = (bytes[at] as number) ^ 1;
  writeFileSync(volumePath(number), bytes);
}

describe('a small blob', () => {
  it.each([0, 1, 4096, 64 * KiB])(
    'of %i bytes is read as it was stored, and has no file of its own',
    async (size) => {
      const bytes = random(size);
      const content = { size, sha256: sha256(bytes) };
      expect(await shelf.put(7, bytes)).toEqual({ ...content, existed: false });
      expect(await read(shelf, 7, size)).toEqual(bytes);
      expect(await shelf.store.examine(7)).toEqual({ fid: 7, ...content });
      expect(await shelf.store.list(0, 10)).toEqual([{ fid: 7, size, at: expect.closeTo(Date.now(), -4) }]);
      expect(await shelf.store.highestFid()).toBe(7);
      expect(existsSync(join(files.path, blobPath(7)))).toBe(false);
      expect(volumes()).toEqual(['0000000001.vol']);
      expect(await shelf.journal.find(7)).toMatchObject({ fid: 7, ...content, ...binding });
    },
  );

  it('that comes in pieces is one blob, and a larger one is a file', async () => {
    const bytes = random(1000);
    const accept = () => {};
    await shelf.store.put(1, [bytes.subarray(0, 10), bytes.subarray(10)], { binding, accept });
    expect(await read(shelf, 1, 1000)).toEqual(bytes);
    await shelf.put(2, random(64 * KiB + 1));
    expect(existsSync(join(files.path, blobPath(2)))).toBe(true);
    expect(await fidsOf(shelf)).toEqual([1, 2]);
    expect(await count(shelf)).toBe(2);
  });

  it('is refused without a trace', async () => {
    const accept = () => {
      throw new Error('other bytes were announced');
    };
    await expect(shelf.store.put(1, random(10), { binding, accept })).rejects.toThrow('announced');
    expect(await fidsOf(shelf)).toEqual([]);
  });

  it('has the same answer when it is stored again, and none for other bytes', async () => {
    const bytes = random(500);
    await shelf.put(1, bytes);
    expect(await shelf.put(1, bytes)).toMatchObject({ existed: true });
    await expect(shelf.put(1, random(500))).rejects.toMatchObject({ problem: 'blob-differs' });
    // A bound that is lower now makes files of what comes.
    const other = await start({ upTo: 100 });
    expect(await other.put(1, bytes)).toMatchObject({ existed: true });
    await expect(other.put(1, random(500))).rejects.toMatchObject({ problem: 'blob-differs' });
    await other.put(2, bytes);
    const again = await start();
    expect(await again.put(2, bytes)).toMatchObject({ existed: true });
    await expect(again.put(2, random(500))).rejects.toMatchObject({ problem: 'blob-differs' });
    expect(await read(again, 1, 500)).toEqual(bytes);
    expect(existsSync(join(files.path, blobPath(1)))).toBe(false);
  });

  it('has the same answer when its file was made a moment ago', async () => {
    const bytes = random(500);
    // Its directory has been read by then.
    await shelf.put(1, random(10));
    await shelf.store.put(2, Readable.from([bytes]), { binding, accept: () => {} });
    expect(await shelf.put(2, bytes)).toMatchObject({ existed: true });
    await expect(shelf.put(2, random(500))).rejects.toMatchObject({ problem: 'blob-differs' });
    expect(await fidsOf(shelf)).toEqual([1, 2]);
  });

  it('is stored once when two come at the same time', async () => {
    const bytes = random(500);
    const answers = await Promise.all([shelf.put(1, bytes), shelf.put(1, bytes)]);
    expect(answers.map(({ existed }) => existed)).toEqual([false, true]);
    expect(placeOf(bytes)).toBe(readFileSync(volumePath(1)).lastIndexOf(bytes));
  });

  it('is gone when it was removed, and can come back', async () => {
    const bytes = random(500);
    await shelf.put(1, bytes);
    expect(await shelf.store.delete(1)).toBe(true);
    expect(await shelf.store.delete(1)).toBe(false);
    expect(await read(shelf, 1, 500)).toBeUndefined();
    await expect(shelf.store.identify(1)).rejects.toMatchObject({ code: 'ENOENT' });
    await shelf.put(1, bytes);
    expect(await read(shelf, 1, 500)).toEqual(bytes);
  });

  it('is listed among the files, in order and page by page', async () => {
    for (const fid of [5, 999, 1000, 2_000_001]) await shelf.put(fid, random(10));
    for (const fid of [3, 998, 1001, 2_000_002]) await shelf.put(fid, random(65 * KiB));
    const all = [3, 5, 998, 999, 1000, 1001, 2_000_001, 2_000_002];
    expect(await fidsOf(shelf)).toEqual(all);
    const pages: number[] = [];
    for (let after = 0; ; ) {
      const page = (await shelf.store.list(after, 3)).map(({ fid }) => fid);
      pages.push(...page);
      if (page.length === 0) break;
      after = page.at(-1) as number;
    }
    expect(pages).toEqual(all);
    expect(await shelf.store.highestFid()).toBe(2_000_002);
  });

  it('is a thousand of them at once, in a few writes', async () => {
    const blobs = Array.from({ length: 1000 }, (_, i) => random(i));
    await Promise.all(blobs.map((bytes, i) => shelf.put(i + 1, bytes)));
    for (const [i, bytes] of blobs.entries()) expect(await read(shelf, i + 1, i)).toEqual(bytes);
    expect(volumes()).toHaveLength(1);
  });
});

describe('a process that was killed', () => {
  it('has lost nothing, and brings nothing back', async () => {
    const blobs = Array.from({ length: 60 }, () => random(40 * KiB));
    for (const [i, bytes] of blobs.entries()) await shelf.put(i + 1, bytes);
    await shelf.store.delete(2);
    const other = await start();
    expect(volumes().length).toBeGreaterThan(1);
    expect(await fidsOf(other)).toEqual([1, ...Array.from({ length: 58 }, (_, i) => i + 3)]);
    for (const fid of [1, 3, 60]) expect(await read(other, fid, 40 * KiB)).toEqual(blobs[fid - 1]);
    // Removed, stored again, and removed again, with nothing written down in between but the last.
    await other.put(2, blobs[1] as Buffer);
    expect(await fidsOf(await start())).toContain(2);
    await other.store.delete(2);
    expect(await fidsOf(await start())).not.toContain(2);
  });

  it('goes on in the volume behind what is whole', async () => {
    const [one, two] = [random(3000), random(3000)];
    await shelf.put(1, one);
    const { size } = statSync(volumePath(1));
    await shelf.put(2, two);
    // Of the second only a part has reached the disk.
    truncateSync(volumePath(1), size + 1000);
    const other = await start();
    expect(await fidsOf(other)).toEqual([1]);
    const three = random(100);
    await other.put(3, three);
    const again = await start();
    expect(await fidsOf(again)).toEqual([1, 3]);
    expect(await read(again, 3, 100)).toEqual(three);
    expect(placeOf(three)).toBeGreaterThan(size);
    expect(statSync(volumePath(1)).size).toBeLessThan(size + 1000);
  });

  it.each([
    ['the head', (bytes: Buffer) => placeOf(bytes) - 30],
    ['the bytes', (bytes: Buffer) => placeOf(bytes) + 17],
  ])('finds what is behind a record whose %s were damaged', async (_what, at) => {
    const blobs = [random(3000), random(3000), random(3000)];
    for (const [i, bytes] of blobs.entries()) await shelf.put(i + 1, bytes);
    damage(1, at(blobs[1] as Buffer));
    const other = await start();
    expect(await fidsOf(other)).toEqual([1, 3]);
    expect(await read(other, 3, 3000)).toEqual(blobs[2]);
  });

  it('has what the journal says of them too, when a power cut took its last lines', async () => {
    await shelf.put(1, random(10));
    await shelf.put(1500, random(10));
    await shelf.journal.close();
    rmSync(join(files.path, 'journal', '0', '000', '001.log'));
    const other = await start();
    expect(await other.journal.find(1500)).toMatchObject({ fid: 1500, size: 10, ...binding });
    const kept: number[] = [];
    for await (const { fid } of other.journal.records(0)) kept.push(fid);
    expect(kept).toEqual([1, 1500]);
  });

  it('has the record of a blob too whose slot was written down with that of another', async () => {
    await shelf.put(2, random(10));
    vi.spyOn(Journal.prototype, 'add').mockImplementation(() => new Promise(() => {}));
    const placed = vi.spyOn(Slots.prototype, 'update');
    void shelf.put(1, random(10));
    await until(() => placed.mock.settledResults.length > 0 && placed.mock.calls.at(-1)?.[0] === 1);
    await shelf.store.delete(2);
    vi.restoreAllMocks();
    expect(await (await start()).journal.find(1)).toMatchObject({ fid: 1, ...binding });
    // It would wait for that one for ever.
    shelves.shift();
  });

  it('looks only at what came after the checkpoint', async () => {
    const [one, two] = [random(3000), random(3000)];
    await shelf.put(1, one);
    await shelf.store.close();
    await shelf.put(2, two);
    // Nobody would know of the first if its slot were not on the disk.
    damage(1, placeOf(one) - 30);
    expect(await fidsOf(await start())).toEqual([1, 2]);
  });

  it('passes over what the disk cannot read, and writes nothing over it', async () => {
    const [one, two, three] = [random(1000), random(5000), random(3000)];
    await shelf.put(1, one);
    await shelf.put(2, two);
    await shelf.put(3, three);
    const { size } = statSync(volumePath(1));
    failToRead();
    const other = await start();
    // The first page, in which two of the records begin.
    expect(await fidsOf(other)).toEqual([3]);
    expect(await read(other, 3, 3000)).toEqual(three);
    await other.put(4, random(10));
    expect(statSync(volumePath(1)).size).toBe(size);
    expect(volumes()).toHaveLength(2);
  });

  it('on a disk that can only be read shows all, and writes nothing', async () => {
    await shelf.put(1, random(10));
    await shelf.store.close();
    await shelf.put(2, random(10));
    const before = readFileSync(join(files.path, '0/000/000/slots'));
    const other = await start({ writable: false });
    expect(await fidsOf(other)).toEqual([1, 2]);
    await other.store.close();
    expect(readFileSync(join(files.path, '0/000/000/slots'))).toEqual(before);
  });

  it('never uses the number of a volume that is gone', async () => {
    await shelf.put(1, random(10));
    await shelf.store.close();
    rmSync(volumePath(1));
    const other = await start();
    await other.put(2, random(10));
    expect(volumes()).toEqual(['0000000002.vol']);
    expect(await read(other, 1, 10)).toBeUndefined();
  });

  it('passes over a slot that was damaged', async () => {
    await shelf.put(1, random(10));
    await shelf.put(2, random(10));
    await shelf.store.close();
    const slots = readFileSync(join(files.path, '0/000/000/slots'));
    slots[32 + 5] = 1 ^ (slots[32 + 5] as number);
    writeFileSync(join(files.path, '0/000/000/slots'), slots);
    expect(await fidsOf(await start())).toEqual([2]);
  });
});

describe('compaction', () => {
  const SIZE = 10 * KiB;
  /** Two volumes and a bit, each of some hundred blobs. */
  async function fill(): Promise<Buffer[]> {
    const blobs = Array.from({ length: 250 }, () => random(SIZE));
    for (let i = 0; i < blobs.length; i += 10) {
      await Promise.all(blobs.slice(i, i + 10).map((bytes, j) => shelf.put(i + j + 1, bytes)));
    }
    expect(volumes()).toHaveLength(3);
    return blobs;
  }

  it('gives back the space of what was removed, and keeps all else', async () => {
    const blobs = await fill();
    expect(await count(shelf)).toBe(250);
    for (let fid = 1; fid <= 20; fid++) await shelf.store.delete(fid);
    const bytesOf20 = expect.closeTo(20 * SIZE, -4);
    await until(() => shelf.store.deadBytes > 19 * SIZE);
    expect(shelf.store.deadBytes).toEqual(bytesOf20);
    for (let fid = 21; fid <= 60; fid++) await shelf.store.delete(fid);
    await until(() => !volumes().includes('0000000001.vol'));
    await until(() => shelf.store.deadBytes === 0);
    for (const one of [shelf, await start()]) {
      expect(await fidsOf(one)).toEqual(Array.from({ length: 190 }, (_, i) => i + 61));
      for (const fid of [61, 100, 101, 250]) expect(await read(one, fid, SIZE)).toEqual(blobs[fid - 1]);
    }
  });

  it('knows at the next start what is dead', async () => {
    await fill();
    for (let fid = 1; fid <= 60; fid++) await shelf.store.delete(fid);
    const other = await start();
    await count(other);
    await until(() => !volumes().includes('0000000001.vol'));
    expect((await fidsOf(other)).length).toBe(190);
  });

  it('leaves a volume alone as long as the scrub has not put aside what is damaged in it', async () => {
    const blobs = await fill();
    await count(shelf);
    damage(1, placeOf(blobs[99] as Buffer) + 5);
    for (let fid = 1; fid <= 60; fid++) await shelf.store.delete(fid);
    await until(async () => (await shelf.store.identify(61)).startsWith('3:'));
    expect(volumes()).toContain('0000000001.vol');
    const aside = join(files.path, 'aside');
    expect(await shelf.store.setAside(100, 'another', aside)).toBe(false);
    expect(await shelf.store.setAside(100, await shelf.store.identify(100), aside)).toBe(true);
    expect(readFileSync(aside)).toHaveLength(SIZE);
    await until(() => !volumes().includes('0000000001.vol'));
    expect((await fidsOf(shelf)).includes(100)).toBe(false);
  });

  it('leaves a volume alone that the disk cannot read, and moves what it can', async () => {
    const blobs = await fill();
    let first = 1;
    while ((await shelf.store.identify(first)) !== '1:0') first++;
    // Before it begins: each removal is a reason to try again.
    for (let fid = 1; fid <= 61; fid++) if (fid !== first) await shelf.store.delete(fid);
    failToRead();
    await count(shelf);
    await until(async () => (await shelf.store.identify(100)).startsWith('3:'));
    // It waits for a removal in there, as the scrub makes one.
    await new Promise((done) => setTimeout(done, 300));
    expect(volumes()).toContain('0000000001.vol');
    expect(await read(shelf, first, SIZE)).toEqual(blobs[first - 1]);
    await shelf.store.delete(first);
    await until(() => !volumes().includes('0000000001.vol'));
  });

  it('is no trouble to those who read, remove and store meanwhile', async () => {
    const blobs = await fill();
    await count(shelf);
    for (let fid = 1; fid <= 60; fid++) await shelf.store.delete(fid);
    const wanted = new Set(Array.from({ length: 190 }, (_, i) => i + 61));
    for (let turn = 0; volumes().includes('0000000001.vol'); turn++) {
      const fid = 61 + (turn % 190);
      if (wanted.has(fid)) expect(await read(shelf, fid, SIZE)).toEqual(blobs[fid - 1]);
      if (turn % 7 === 0 && turn < 190) {
        await shelf.store.delete(fid);
        wanted.delete(fid);
      }
      await shelf.put(1000 + turn, random(10));
    }
    for (const one of [shelf, await start()]) {
      expect((await fidsOf(one)).filter((fid) => fid < 1000)).toEqual([...wanted]);
    }
  });
});

describe('what is on its way to its slot', () => {
  /** Holds a blob up between its record and its slot; answers with what lets it go on. */
  async function held(fid: number, bytes: Buffer): Promise<() => Promise<unknown>> {
    const update = Slots.prototype.update;
    let goOn = () => {};
    const gate = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const reached = new Promise<void>((resolve) => {
      vi.spyOn(Slots.prototype, 'update').mockImplementation(async function (this: Slots, changed, change) {
        if (changed === fid) {
          resolve();
          await gate;
        }
        return await update.call(this, changed, change);
      });
    });
    const putting = shelf.put(fid, bytes);
    await reached;
    return () => {
      goOn();
      return putting;
    };
  }
  afterEach(() => vi.restoreAllMocks());

  it('is not taken for dead by the compaction', async () => {
    await count(shelf);
    const bytes = random(3000);
    for (let fid = 1; fid <= 20; fid++) await shelf.put(fid, random(10 * KiB));
    const goOn = await held(99, bytes);
    const seal = vi.spyOn(VolumeFiles.prototype, 'seal');
    for (let fid = 1; fid <= 20; fid++) await shelf.store.delete(fid);
    await until(() => seal.mock.calls.length > 0);
    // Everything else in the volume is dead: were it read now, it would be removed.
    await Promise.race([until(() => volumes().length === 0), new Promise((done) => setTimeout(done, 300))]);
    await goOn();
    await until(() => !volumes().includes('0000000001.vol'));
    expect(await read(shelf, 99, 3000)).toEqual(bytes);
  });

  it('is not passed over by a checkpoint', async () => {
    const bytes = random(3000);
    const goOn = await held(99, bytes);
    await shelf.put(1, random(10));
    const closing = shelf.store.close();
    await Promise.race([closing, new Promise((done) => setTimeout(done, 300))]);
    await goOn();
    await closing;
    expect(await read(await start(), 99, 3000)).toEqual(bytes);
  });
});

it('has one body of a blob that comes small and chunked at the same time', async () => {
  const accept = () => {};
  for (let fid = 1; fid <= 20; fid++) {
    const [one, other] = [random(100), random(100)];
    const answers = await Promise.allSettled([
      shelf.store.put(fid, Readable.from([one]), { binding, accept }),
      shelf.put(fid, other),
    ]);
    expect(answers.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    const kept = answers[0]?.status === 'fulfilled' ? one : other;
    expect(await read(shelf, fid, 100)).toEqual(kept);
  }
  expect(await fidsOf(shelf)).toHaveLength(20);
});

it('takes nothing in the bytes of a blob for a record', async () => {
  const victim = random(100);
  await shelf.put(1, victim);
  const forged = random(100);
  const record = { fid: 1, ...binding, size: 100, sha256: sha256(forged), at: Date.now() };
  // As whoever knows the form, and not the disk's id, can make it.
  const { parts } = encode(record, [forged], 0);
  const bytes = Buffer.concat(parts);
  await shelf.put(2, bytes);
  damage(1, placeOf(bytes) - 30);
  const other = await start();
  expect(await fidsOf(other)).toEqual([1]);
  expect(await read(other, 1, 100)).toEqual(victim);
});

it('keeps a checkpoint waiting for slots that a delete is writing down', async () => {
  const bytes = random(100);
  await shelf.put(1, random(100));
  await shelf.store.close();
  await shelf.put(2, bytes);
  // There is something else to write down.
  await shelf.put(1_500, random(100));
  let goOn = () => {};
  const gate = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const ensure = vi.spyOn(shelf.ground.directories, 'ensure').mockImplementation(async (directory) => {
    if (directory === '0/000/000') await gate;
    return await DirectorySync.prototype.ensure.call(shelf.ground.directories, directory);
  });
  const deleting = shelf.store.delete(1);
  await until(() => ensure.mock.calls.length > 0);
  const before = readFileSync(join(files.path, 'volumes/checkpoint'));
  const closing = shelf.store.close();
  await Promise.race([closing, new Promise((done) => setTimeout(done, 300))]);
  // The slot of the second is not on the disk yet.
  expect(readFileSync(join(files.path, 'volumes/checkpoint'))).toEqual(before);
  goOn();
  await Promise.all([deleting, closing]);
  vi.restoreAllMocks();
  expect(await read(await start(), 2, 100)).toEqual(bytes);
});

it('uses no number again of a volume that was written and compacted within a moment', async () => {
  await count(shelf);
  for (let fid = 1; fid <= 130; fid++) await shelf.put(fid, random(10 * KiB));
  expect(volumes()).toEqual(['0000000001.vol', '0000000002.vol']);
  for (let fid = 90; fid <= 130; fid++) await shelf.store.delete(fid);
  await until(() => !volumes().includes('0000000002.vol'));
  const other = await start();
  await other.put(130, random(100));
  expect(volumes()).toContain('0000000003.vol');
  expect(await fidsOf(await start())).toContain(130);
});

it('makes the directory that a blob belongs into, so that it is found there', async () => {
  await shelf.put(12_345, random(10));
  const found: string[] = [];
  for await (const { directory } of leaves(files.path)) found.push(directory);
  expect(found).toEqual(['0/000/012']);
  appendFileSync(join(files.path, '0/000/012/notes.txt'), 'what else lies there is passed over');
  expect(await fidsOf(shelf)).toEqual([12_345]);
});

it('takes slots that are not there for none only where the disk is', async () => {
  const { ground } = shelf;
  expect(await new Slots(ground).find(5_000)).toBeUndefined();
  // What is seen is the directory below, on which another file system was mounted.
  const below = new Slots({ ...ground, filesystem: () => -1 });
  await expect(below.find(5_000)).rejects.toMatchObject({ code: 'ENOENT' });
});

it('makes nothing where its directory was moved away', async () => {
  await shelf.put(1, random(10));
  await shelf.store.close();
  const other = await start();
  await other.put(2, random(10));
  await other.journal.flush();
  const away = `${files.path}.away`;
  renameSync(files.path, away);
  mkdirSync(files.path);
  try {
    await expect(other.store.close()).rejects.toMatchObject({ code: 'ENOENT' });
    expect(readdirSync(files.path)).toEqual([]);
  } finally {
    rmSync(files.path, { recursive: true });
    renameSync(away, files.path);
  }
});
