// What the node wants from a device's layout on disk. There are two: a file for each blob (files-store.ts), and small
// blobs in volumes (volumes/); layered-store.ts puts them together.

import { Problem } from '../services/problems.ts';
import type { ByteRange } from '../services/ranges.ts';
import type { Binding } from '../services/tickets.ts';
import type { Examined } from './examination.ts';
import type { Leaf } from './layout.ts';

/** Size in bytes and SHA-256 in lower-case hex. */
export interface Content {
  size: number;
  sha256: string;
}

export interface PutOptions {
  /** What the bytes are for; kept beside them, so that names can be recovered from a disk. */
  binding: Binding;
  /** Called when all bytes are there, before the blob exists; throws to refuse them. */
  accept(content: Content): void;
  /** Nobody is about to read it: it should not push out of memory what is being served. */
  direct?: boolean;
}

/** A blob opened for reading. */
export interface OpenBlob {
  size: number;
  /** The bytes of a range, in pieces (of so many bytes), each read as a whole while the one before is used. */
  read(range: ByteRange, piece?: number): AsyncGenerator<Buffer>;
  /** Must be called once no read is under way; may be called twice. */
  close(): void;
}

export interface ListedBlob {
  fid: number;
  size: number;
  /** Modification time, milliseconds since the epoch. */
  at: number;
}

/**
 * Blobs on one disk. Methods fail with the system's own errors (ENOENT: no such blob), which `Device` understands.
 */
export interface BlobStore {
  /** Bytes of removed blobs that are still on the disk, as of a moment ago. */
  readonly deadBytes: number;
  /**
   * Makes ready after the device was found to be the right one; removes what crashed writes left behind.
   * @param writable false: nothing may be changed on the disk
   */
  open(writable: boolean): Promise<void>;
  /** Writes down what is in memory only. What was acknowledged is durable without that. */
  close(): Promise<void>;
  /**
   * Stores a blob exclusively and durably: when this returns, a power cut cannot take it away. A Buffer is taken to be
   * all of it, as is an array of them. If the same bytes are there already, `existed` is true.
   * @throws Problem blob-differs if other bytes are there
   */
  put(
    fid: number,
    body: Buffer | readonly Buffer[] | AsyncIterable<Uint8Array>,
    options: PutOptions,
  ): Promise<Content & { existed: boolean }>;
  /**
   * Makes sure that a blob which is there has this content and is durable; false if there is none.
   * @throws Problem blob-differs
   */
  confirm(fid: number, content: Content): Promise<boolean>;
  /** All bytes in one read, or undefined if there are not exactly `size` of them. */
  readWhole(fid: number, size: number): Promise<Buffer | undefined>;
  /** Reads all bytes into `place`, which has one byte more than they are; false if there are not exactly so many. */
  readInto(fid: number, place: Buffer): Promise<boolean>;
  openBlob(fid: number): Promise<OpenBlob>;
  /** Removes a blob durably; false if there is none. */
  delete(fid: number): Promise<boolean>;
  /** Up to `limit` blobs with fids above `after`, ascending. */
  list(after: number, limit: number): Promise<ListedBlob[]>;
  /** The fids of the blobs that are there and belong into a directory, ascending. */
  fids(leaf: Leaf): Promise<number[]>;
  /**
   * Reads all of it from the disk itself and says what it is.
   * @param rest is awaited after each piece but the last, and may throw to give up
   */
  examine(fid: number, rest?: (bytes: number) => Promise<void> | void): Promise<Examined>;
  /** A text that is another one when the blob has been removed and stored again. */
  identify(fid: number): Promise<string>;
  /** Moves a blob's bytes to a new file in another directory of the device, if its identity is still the same. */
  setAside(fid: number, identity: string, path: string): Promise<boolean>;
  /** Gives what `setAside` moved away its name again, durably, if there is no such blob. The other name stays. */
  takeBack(fid: number, content: Content, path: string): Promise<boolean>;
  /** Highest fid present, 0 if none. */
  highestFid(): Promise<number>;
  /** Counts the blobs, directory by directory: `seen` gets each directory's number and the fid it ends before. */
  count(seen: (blobs: number, before: number) => void, signal: AbortSignal): Promise<void>;
}

export function blobDiffers(fid: number): Problem {
  return new Problem('blob-differs', `Blob ${fid} is there with other bytes; a fid is never written twice.`);
}
