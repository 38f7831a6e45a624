import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { loadScrubState, NOT_BEGUN, saveScrubState } from './scrub-state.ts';
import { scratch } from './testing.ts';

let files: ReturnType<typeof scratch>;
beforeEach(() => {
  files = scratch();
});
afterEach(() => files.remove());

it('is kept on the device', async () => {
  mkdirSync(join(files.path, 'tmp'));
  expect(await loadScrubState(files.path)).toEqual(NOT_BEGUN);
  await saveScrubState(files.path, { ...NOT_BEGUN, found: 3 });
  expect(await loadScrubState(files.path)).toEqual({ ...NOT_BEGUN, found: 3 });
  expect(readdirSync(join(files.path, 'tmp'))).toEqual([]);
});

it('is not written into an empty directory that stands where the disk was', async () => {
  await expect(saveScrubState(files.path, NOT_BEGUN)).rejects.toMatchObject({ code: 'ENOENT' });
  expect(readdirSync(files.path)).toEqual([]);
});
