// Where a device's small blobs stand in its volumes: for each directory of blobs a file `slots` in it, with a slot of 32
// bytes for each of its thousand fids. A look-up reads one such file; nothing is held in memory that grows with the blobs.
//
//   0  number of the volume, 0: never used       16 when it was stored (double, milliseconds since the epoch)
//   4  where its record begins, in units of 8    24 1: there, 2: removed
//   8  bytes of the blob                         28 CRC-32 of what is before
//   12 bytes of the record
//
// A slot of a blob that was removed says where its last record stands, so that recovery does not bring that back. Slots
// never straddle a sector, so a torn write leaves each as it was or as it is.
import {
  closeSync,
  constants,
  existsSync,
  fdatasync,
  open,
  openSync,
  read,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';
import { LRUCache } from 'lru-cache';
import { assertOnDisk, type Ground } from '../ground.ts';
import { blobDirectory, FIDS_A_DIRECTORY, leafOf } from '../layout.ts';
import { SharedRuns } from '../shared-runs.ts';
import { UNIT } from './record.ts';

const [fdatasyncAsync, openAsync, readAsync] = [promisify(fdatasync), promisify(open), promisify(read)];

const FILE = 'slots';
const SLOT = 32;
const SIZE = FIDS_A_DIRECTORY * SLOT;
/** Tables that are kept in memory when nobody uses them. */
const KEPT = 128;
const THERE = 1;
const REMOVED = 2;

export interface Place {
  volume: number;
  /** Where the record begins, in bytes. */
  offset: number;
}

/** True if a record there was written after one at `other`. */
export function isBehind(place: Place, other: Place): boolean {
  return place.volume > other.volume || (place.volume === other.volume && place.offset > other.offset);
}

export function isAt(slot: Slot | undefined, { volume, offset }: Place): slot is Slot {
  return slot?.there === true && slot.volume === volume && slot.offset === offset;
}

export interface Slot extends Place {
  /** Bytes of the blob, and of the whole record. */
  size: number;
  length: number;
  /** When it was stored, milliseconds since the epoch. */
  at: number;
  /** False: it was removed. */
  there: boolean;
}

/** The slots of one directory, while somebody uses them or they are not on the disk as they are here, and for some time. */
interface Table {
  bytes: Promise<Buffer>;
  users: number;
}

export class Slots {
  readonly #ground: Ground;
  /** Those used last come last. */
  readonly #tables = new Map<number, Table>();
  /** Those that hold what their files do not have durably, each with the number of its last change. */
  readonly #dirty = new Map<number, number>();
  #changes = 0;
  /** Directories whose entry of the file this process has made durable. */
  readonly #named = new LRUCache<number, true>({ max: 10_000 });
  readonly #writes = new SharedRuns<number>((first) => this.#write(first));

  constructor(ground: Ground) {
    this.#ground = ground;
  }

  /** How many tables wait to be made durable. */
  get dirty(): number {
    return this.#dirty.size;
  }

  /** Forgets all: the disk may be another one now. */
  clear(): void {
    this.#tables.clear();
    this.#dirty.clear();
    this.#named.clear();
  }

  /** Undefined: the fid was never in a volume. */
  find(fid: number): Promise<Slot | undefined> {
    return this.#use(leafOf(fid), (bytes) => decode(bytes, fid));
  }

  /** The blobs that are there, of the directory that begins with `first`, in ascending order. */
  there(first: number): Promise<(Slot & { fid: number })[]> {
    return this.#use(first, (bytes) => {
      const found: (Slot & { fid: number })[] = [];
      for (let fid = first; fid < first + FIDS_A_DIRECTORY; fid++) {
        const slot = decode(bytes, fid);
        if (slot?.there) found.push({ fid, ...slot });
      }
      return found;
    });
  }

  /**
   * Changes a slot, in memory until `sync`. `change` gets what it holds and answers with what it shall hold, or undefined
   * to leave it.
   */
  update(fid: number, change: (slot: Slot | undefined) => Slot | undefined): Promise<void> {
    const first = leafOf(fid);
    return this.#use(first, (bytes) => {
      const slot = change(decode(bytes, fid));
      if (slot === undefined) return;
      encode(bytes, fid, slot);
      this.#dirty.set(first, ++this.#changes);
    });
  }

  /** Makes the file and its directory, if they are not there: what is on a disk can be removed also when it is full. */
  async prepare(fid: number): Promise<void> {
    const first = leafOf(fid);
    // While the disk is known to be there: a later checkpoint then makes no directory where it is gone.
    await this.#ground.directories.ensure(blobDirectory(first));
    if (!this.#named.has(first) && !existsSync(this.#path(first))) await this.sync(fid);
  }

  /** Makes the slots of this fid's directory durable, as they are at the time of the call. */
  sync(fid: number): Promise<void> {
    return this.#writes.run(leafOf(fid));
  }

  /** The same for all slots. */
  async syncAll(): Promise<void> {
    for (const first of [...this.#dirty.keys()]) await this.#writes.run(first);
  }

  async #use<T>(first: number, action: (bytes: Buffer) => T | Promise<T>): Promise<T> {
    const table = this.#tables.get(first) ?? { bytes: this.#load(first), users: 0 };
    this.#tables.set(first, table);
    table.users++;
    try {
      const bytes = await table.bytes;
      // Everything was forgotten meanwhile: what is changed here would not be seen.
      if (this.#tables.get(first) !== table) return await this.#use(first, action);
      return await action(bytes);
    } catch (error) {
      await table.bytes.catch(() => this.#forget(first, table));
      throw error;
    } finally {
      table.users--;
      this.#touch(first, table);
    }
  }

  #forget(first: number, table: Table): void {
    if (this.#tables.get(first) === table) this.#tables.delete(first);
  }

  /** It was used just now; those that were not for the longest time are given up. */
  #touch(first: number, table: Table): void {
    if (this.#tables.get(first) !== table) return;
    this.#tables.delete(first);
    this.#tables.set(first, table);
    for (const [other, { users }] of this.#tables) {
      if (this.#tables.size <= KEPT) return;
      if (users === 0 && !this.#dirty.has(other)) this.#tables.delete(other);
    }
  }

  async #load(first: number): Promise<Buffer> {
    const bytes = Buffer.alloc(SIZE);
    const fd = await openAsync(this.#path(first), 'r').catch((error: NodeJS.ErrnoException) => {
      // Where the disk is not there, this says nothing about what is on it.
      if (error.code !== 'ENOENT' || !this.#isMounted) throw error;
    });
    if (fd === undefined) return bytes;
    try {
      await readAsync(fd, bytes, 0, SIZE, 0);
      return bytes;
    } finally {
      closeSync(fd);
    }
  }

  get #isMounted(): boolean {
    const { root, filesystem } = this.#ground;
    return statSync(root).dev === filesystem();
  }

  /** Writes all of a table: what a former write failed to make durable, the kernel may have forgotten. */
  #write(first: number): Promise<void> {
    return this.#use(first, async (bytes) => {
      const change = this.#dirty.get(first);
      await this.#writeNow(first, Buffer.from(bytes));
      // Only now, and if it was not changed meanwhile: until then a checkpoint has to wait for it.
      if (this.#dirty.get(first) === change) this.#dirty.delete(first);
    });
  }

  async #writeNow(first: number, bytes: Buffer): Promise<void> {
    const { directories } = this.#ground;
    const directory = blobDirectory(first);
    await directories.ensure(directory);
    const fd = openSync(this.#path(first), constants.O_CREAT | constants.O_WRONLY, 0o640);
    try {
      assertOnDisk(this.#ground, fd);
      writeSync(fd, bytes, 0, SIZE, 0);
      await fdatasyncAsync(fd);
      if (this.#named.has(first)) return;
      await directories.sync(directory);
      this.#named.set(first, true);
    } finally {
      closeSync(fd);
    }
  }

  #path(first: number): string {
    return join(this.#ground.root, blobDirectory(first), FILE);
  }
}

function decode(bytes: Buffer, fid: number): Slot | undefined {
  const at = (fid % FIDS_A_DIRECTORY) * SLOT;
  const volume = bytes.readUInt32BE(at);
  // A damaged slot is none: the blob is missing here then, and comes back from elsewhere.
  if (volume === 0 || bytes.readUInt32BE(at + 28) !== crc32(bytes.subarray(at, at + 28))) return undefined;
  return {
    volume,
    offset: bytes.readUInt32BE(at + 4) * UNIT,
    size: bytes.readUInt32BE(at + 8),
    length: bytes.readUInt32BE(at + 12),
    at: bytes.readDoubleBE(at + 16),
    there: bytes.readUInt32BE(at + 24) === THERE,
  };
}

function encode(bytes: Buffer, fid: number, slot: Slot): void {
  const at = (fid % FIDS_A_DIRECTORY) * SLOT;
  bytes.writeUInt32BE(slot.volume, at);
  bytes.writeUInt32BE(slot.offset / UNIT, at + 4);
  bytes.writeUInt32BE(slot.size, at + 8);
  bytes.writeUInt32BE(slot.length, at + 12);
  bytes.writeDoubleBE(slot.at, at + 16);
  bytes.writeUInt32BE(slot.there ? THERE : REMOVED, at + 24);
  bytes.writeUInt32BE(crc32(bytes.subarray(at, at + 28)), at + 28);
}
