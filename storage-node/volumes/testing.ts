// For the tests of volumes: a device's blobs in a directory, as a node has them.
import { statSync } from 'node:fs';
import type { PutOptions } from '../blob-store.ts';
import { DirectorySync } from '../directory-sync.ts';
import type { Ground } from '../ground.ts';
import { Journal } from '../journal.ts';
import { LayeredStore } from '../layered-store.ts';
import { binding } from '../testing.ts';

const MiB = 1024 * 1024;
const UUID = 'the id of a disk in tests';

export interface Shelf {
  root: string;
  ground: Ground;
  journal: Journal;
  store: LayeredStore;
  /** What failed in the background. */
  failures: unknown[];
  put(fid: number, bytes: Buffer): ReturnType<LayeredStore['put']>;
}

/** Opens what is in a directory, as a process does that starts. A former one is not closed by that: it was killed. */
export async function open(
  root: string,
  { upTo = 64 * 1024, most = MiB, writable = true } = {},
): Promise<Shelf> {
  const ground = {
    root,
    directories: new DirectorySync(root),
    filesystem: () => statSync(root).dev,
    uuid: () => UUID,
  };
  const failures: unknown[] = [];
  const onFailure = (error: unknown) => void failures.push(error);
  const journal = new Journal(ground, onFailure, (leaf) => store.fids(leaf));
  const store: LayeredStore = new LayeredStore({ ground, journal, onFailure, upTo, most });
  await journal.open();
  await store.open(writable);
  const put = (fid: number, bytes: Buffer, accept: PutOptions['accept'] = () => {}) =>
    store.put(fid, bytes, { binding, accept });
  return { root, ground, journal, store, failures, put };
}

/** Counts all blobs, as a node does when a disk appears: from then on volumes are compacted. */
export async function count({ store }: Shelf): Promise<number> {
  let blobs = 0;
  await store.count((found) => {
    blobs += found;
  }, new AbortController().signal);
  return blobs;
}

export async function read({ store }: Shelf, fid: number, size: number): Promise<Buffer | undefined> {
  return await store.readWhole(fid, size).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
}
