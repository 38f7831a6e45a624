// Does a disk that failed a write keep what is written to it? Asked by an operator who has looked at it.
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { open, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { readDirect } from './direct-read.ts';
import { DirectorySync } from './directory-sync.ts';
import { assertOnDisk, type Ground } from './ground.ts';

const BYTES = 4 * 1024 * 1024;
const DIRECTORY = 'tmp';

/** Writes, syncs, renames and reads back from the disk itself; fails with the system's error, or EIO for other bytes. */
export async function testDisk(ground: Ground): Promise<void> {
  const { root } = ground;
  // One of its own: the device's may have failed, and would say so again.
  const directories = new DirectorySync(root);
  await directories.ensure(DIRECTORY);
  const path = join(root, DIRECTORY, `self-test.${randomUUID()}`);
  const bytes = randomBytes(BYTES);
  const file = await open(path, 'wx', 0o640);
  try {
    assertOnDisk(ground, file.fd);
    await file.writeFile(bytes);
    await file.sync();
    await rename(path, `${path}.2`);
    await directories.sync(DIRECTORY);
    const read = createHash('sha256');
    await readDirect(`${path}.2`, (piece) => read.update(piece));
    const same = read.digest('hex') === createHash('sha256').update(bytes).digest('hex');
    if (!same) throw Object.assign(new Error('the disk does not keep what is written'), { code: 'EIO' });
  } finally {
    await file.close();
    for (const name of [path, `${path}.2`]) await unlink(name).catch(() => {});
  }
  await directories.sync(DIRECTORY);
}
