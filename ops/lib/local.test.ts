import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { Failure } from './failure.ts';
import { destinations, inParallel, type Source, walk } from './local.ts';

const targets = (sources: string[], target: string) =>
  destinations(sources, target).map((place) => place.target);

test('a single thing becomes the target; several, or a target with a slash, go into it', () => {
  expect(targets(['x/cat.jpg'], 'public/cat.jpg')).toEqual(['public/cat.jpg']);
  expect(targets(['x/photos'], 'public')).toEqual(['public']);
  expect(targets(['x/cat.jpg'], 'public/')).toEqual(['public/cat.jpg']);
  expect(targets(['a.jpg', 'x/b.jpg'], 'public')).toEqual(['public/a.jpg', 'public/b.jpg']);
  expect(targets(['x/photos/', 'y'], '/')).toEqual(['photos', 'y']);
  expect(targets(['x/photos/.'], 'public/')).toEqual(['public']);
  expect(targets(['.'], '/')).toEqual(['']);
  expect(() => targets(['..'], 'public/')).toThrow('no name of its own');
});

test('a walk finds the files and the empty directories below, follows links, and survives what it cannot store', async () => {
  const root = mkdtempSync(join(tmpdir(), 'cistern-walk-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'a/empty'), { recursive: true });
  writeFileSync(join(root, 'a/1 x.txt'), 'one');
  writeFileSync(join(root, 'b'), '');
  symlinkSync(join(root, 'a/1 x.txt'), join(root, 'link'));
  symlinkSync(root, join(root, 'a/loop'));
  symlinkSync('/nonexistent/target', join(root, 'broken'));
  const skipped: Failure[] = [];
  const found: Source[] = [];
  for await (const source of walk(root, 'k', (failure) => skipped.push(failure))) found.push(source);
  expect(found.map(({ kind, key, size }) => [kind, key, size])).toEqual([
    ['file', 'k/a/1 x.txt', 3],
    ['directory', 'k/a/empty', 0],
    ['file', 'k/b', 0],
    ['file', 'k/link', 3],
  ]);
  expect(skipped.map((failure) => failure.message)).toEqual([
    expect.stringContaining('a symbolic link to a directory above it'),
    expect.stringContaining('no such file or directory'),
  ]);
});

test('work is done so many at a time, and what is next is taken only when it can be done', async () => {
  let [taken, running, most] = [0, 0, 0];
  const items = async function* () {
    for (taken = 0; taken < 20; taken++) yield taken;
  };
  const done: number[] = [];
  await inParallel(items(), 3, async (item) => {
    most = Math.max(most, ++running);
    expect(taken - done.length).toBeLessThanOrEqual(4);
    await new Promise(setImmediate);
    running--;
    done.push(item);
  });
  expect(most).toBe(3);
  expect(done.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i));
});
