import { statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, it } from 'vitest';
import { Space } from './space.ts';

const GiB = 2 ** 30;

it('gives out no more than there is, while writes are open and after', async () => {
  const { bavail, bsize } = statfsSync(tmpdir());
  // Leaves about 8 GiB, so that what others write to this disk meanwhile does not matter.
  const space = new Space(tmpdir(), bavail * bsize - 8 * GiB);
  const first = await space.reserve(5 * GiB);
  expect(first).toBeDefined();
  expect(await space.reserve(5 * GiB)).toBeUndefined();
  first?.release();
  const second = await space.reserve(5 * GiB);
  second?.used(5 * GiB);
  second?.release();
  // Written bytes are not free again when the write ends; only the file system knows when they are.
  expect(space.free).toBeLessThan(4 * GiB);
  await space.refresh();
  expect(space.free).toBeGreaterThan(7 * GiB);
});
