import { existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { DirectorySync } from './directory-sync.ts';
import { Journal } from './journal.ts';
import { LayeredStore } from './layered-store.ts';
import { blobPath } from './layout.ts';
import { Quarantine } from './quarantine.ts';
import { scratch, sha256 } from './testing.ts';

const right = Buffer.from('the bytes');
const expected = { size: right.length, sha256: sha256(right) };
let files: ReturnType<typeof scratch>;
let quarantine: Quarantine;
const at = () => join(files.path, blobPath(1));
const identify = () => String(statSync(at()).ino);

beforeEach(() => {
  files = scratch();
  const ground = {
    root: files.path,
    directories: new DirectorySync(files.path),
    filesystem: () => statSync(files.path).dev,
    uuid: () => null,
  };
  const journal = new Journal(ground, () => {});
  const store = new LayeredStore({ ground, journal, onFailure: () => {}, upTo: 0, most: 1 });
  quarantine = new Quarantine(ground, store);
  mkdirSync(dirname(at()), { recursive: true });
  writeFileSync(at(), 'bad bytes');
});
afterEach(() => files.remove());

it('takes the file that was read, not a good copy that has come in its place', async () => {
  const identity = identify();
  // Removed, and placed again, by others, after it was read. (The old file stays somewhere, so that its inode is not used again.)
  renameSync(at(), join(files.path, 'old'));
  writeFileSync(at(), right);
  expect(await quarantine.take(1, identity, expected)).toBe(false);
  expect(readFileSync(at()).equals(right)).toBe(true);
  expect(await quarantine.take(1, identify(), expected)).toBe(true);
  expect(existsSync(at())).toBe(false);
  expect([quarantine.count, quarantine.has(1), quarantine.has(2)]).toEqual([1, true, false]);
});

it('gives nothing back that is wrong, or whose place is taken', async () => {
  await quarantine.take(1, identify(), expected);
  const aside = join(files.path, 'quarantine', `1.${expected.size}.${expected.sha256}`);
  expect(await quarantine.giveBack(1)).toBeUndefined();
  writeFileSync(aside, right);
  writeFileSync(at(), 'a copy');
  expect(await quarantine.giveBack(1)).toBeUndefined();
  expect(readFileSync(at(), 'utf8')).toBe('a copy');
  renameSync(at(), join(files.path, 'away'));
  expect(await quarantine.giveBack(1)).toEqual(expected);
  expect(readFileSync(at()).equals(right)).toBe(true);
  expect([existsSync(aside), quarantine.count]).toEqual([false, 0]);
});
