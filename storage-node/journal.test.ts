import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DirectorySync } from './directory-sync.ts';
import type { Ground } from './ground.ts';
import { Journal } from './journal.ts';
import type { BlobRecord } from './journal-record.ts';
import { blobPath, journalPath } from './layout.ts';
import { scratch, until } from './testing.ts';

let files: ReturnType<typeof scratch>;
let ground: Ground;
let journal: Journal;
let begun: Journal[];

beforeEach(async () => {
  begun = [];
  files = scratch();
  const filesystem = () => statSync(files.path).dev;
  ground = { root: files.path, directories: new DirectorySync(files.path), filesystem, uuid: () => null };
  journal = await begin();
});
afterEach(async () => {
  await Promise.all(begun.map((one) => one.close()));
  files.remove();
});

/** A journal as a process finds it when it starts. */
async function begin(): Promise<Journal> {
  const other = new Journal(ground, (error) => {
    throw error;
  });
  begun.push(other);
  await other.open();
  return other;
}

const record = (fid: number, more: Partial<BlobRecord> = {}): BlobRecord => ({
  fid,
  domain: 'demo',
  key: `a/${fid}.jpg`,
  class: 'default',
  size: 10,
  sha256: 'a'.repeat(64),
  at: 1,
  ...more,
});
/** A blob's file, so that the journal takes it to be there. */
function plant(fid: number): void {
  const path = join(files.path, blobPath(fid));
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, 'bytes');
}
const fileOf = (fid: number) => join(files.path, journalPath(fid));
async function fidsOf(from: Journal, after = 0): Promise<number[]> {
  const fids: number[] = [];
  for await (const { fid } of from.records(after)) fids.push(fid);
  return fids;
}

describe('the journal', () => {
  it('keeps what was stored across processes, in order, without what was removed', async () => {
    const fids = [5, 2_000_000_001, 1000, 7, 999];
    for (const fid of fids) plant(fid);
    await Promise.all(fids.map((fid) => journal.add(record(fid))));
    await journal.removed(7);
    const other = await begin();
    expect(await fidsOf(other)).toEqual([5, 999, 1000, 2_000_000_001]);
    expect(await fidsOf(other, 5)).toEqual([999, 1000, 2_000_000_001]);
    expect(await other.find(5)).toEqual(record(5));
    expect(await other.find(7)).toBeUndefined();
  });

  it('says nothing of a blob whose file is not there', async () => {
    await journal.add(record(8));
    expect(await fidsOf(journal)).toEqual([]);
  });

  it.each([
    ['half a line', (text: string) => text.slice(0, -20)],
    ['zeros', () => '\0'.repeat(3000)],
    ['less than a line', (text: string) => text.slice(0, 5)],
  ])('cuts off %s that a crash left at its end, and goes on', async (_name, tear) => {
    for (const fid of [1, 2]) plant(fid);
    await journal.add(record(1));
    await journal.close();
    const line = readFileSync(fileOf(1), 'utf8');
    appendFileSync(fileOf(1), tear(line.replaceAll('"fid":1', '"fid":3')));
    const other = await begin();
    await other.add(record(2));
    expect(await fidsOf(other)).toEqual([1, 2]);
    await other.close();
    const lines = readFileSync(fileOf(1), 'utf8').split('\n');
    expect(lines).toHaveLength(3);
    expect(lines[0]).toBe(line.trim());
  });

  it('passes over a line that changed on the disk', async () => {
    for (const fid of [1, 2, 3]) plant(fid);
    for (const fid of [1, 2, 3]) await journal.add(record(fid));
    writeFileSync(fileOf(1), readFileSync(fileOf(1), 'utf8').replace('a/2.jpg', 'a/9.jpg'));
    expect(await fidsOf(await begin())).toEqual([1, 3]);
  });

  it('is rewritten without what is gone, if that is much, and takes records meanwhile', async () => {
    for (let fid = 1; fid <= 500; fid++) {
      if (fid % 2 === 0) plant(fid);
      await journal.add(record(fid));
    }
    const before = statSync(fileOf(1)).size;
    plant(501);
    await Promise.all([journal.tidy(0), journal.add(record(501))]);
    expect(statSync(fileOf(1)).size).toBeLessThan(before * 0.6);
    expect(await fidsOf(journal)).toHaveLength(251);
    // Little to gain: it stays as it is.
    const { ino } = statSync(fileOf(1));
    await journal.tidy(0);
    expect(statSync(fileOf(1)).ino).toBe(ino);
  });

  it('is rewritten by itself when many blobs of one directory were removed', async () => {
    plant(300);
    for (let fid = 1; fid <= 260; fid++) await journal.add(record(fid));
    for (let fid = 1; fid <= 260; fid++) await journal.removed(fid);
    await until(() => readFileSync(fileOf(1), 'utf8').length < 3_000);
  });

  it('is whole after a crash while it was rewritten', async () => {
    plant(1);
    await journal.add(record(1));
    writeFileSync(`${fileOf(1)}.new`, 'half a li');
    const other = await begin();
    for (let fid = 2; fid < 100; fid++) await other.add(record(fid));
    await other.tidy(0);
    expect(await fidsOf(other)).toEqual([1]);
    expect(readdirSync(dirname(fileOf(1)))).toEqual(['000.log']);
  });

  it('keeps no file open that is not used', async () => {
    const open = () =>
      readdirSync('/proc/self/fd').filter((fd) => {
        try {
          return readlinkSync(`/proc/self/fd/${fd}`).startsWith(files.path);
        } catch {
          return false;
        }
      });
    for (let leaf = 0; leaf < 50; leaf++) await journal.add(record(1 + leaf * 1000));
    expect(open().length).toBeGreaterThan(10);
    await until(() => open().length === 0);
  });
});

describe('the sequence', () => {
  it('grows when something was written, is durable, and survives a torn write', async () => {
    expect(journal.sequence.value).toBe(0);
    for (const expected of [1, 2, 3]) {
      await journal.add(record(expected));
      await until(() => journal.sequence.value === expected);
    }
    const path = join(files.path, 'cistern-sequence');
    const bytes = readFileSync(path);
    // The third was written to the second place; torn, it leaves the one before.
    bytes.fill(0, 512 + 500);
    writeFileSync(path, bytes);
    expect((await begin()).sequence.value).toBe(2);
  });

  it('is not begun in an empty directory that stands where its disk was', async () => {
    await expect(journal.sequence.next()).rejects.toMatchObject({ code: 'ENOENT' });
    expect([readdirSync(files.path), journal.sequence.value]).toEqual([[], 0]);
  });
});
