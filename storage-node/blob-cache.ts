// Small blobs that are read often, verified once and kept in memory. Blobs never change, so nothing here grows stale;
// what is deleted, or on a device that went out, is dropped.
import { LRUCache } from 'lru-cache';

/** Memory that an entry costs beside its bytes, roughly. */
const OVERHEAD = 256;

interface Entry {
  sha256: string;
  bytes: Buffer;
}

export class BlobCache {
  hits = 0;
  misses = 0;
  readonly #entries: LRUCache<string, Entry> | undefined;
  /** Counts removals, so that a read which began before one is not kept after it. */
  #removals = 0;

  /** @param maxBytes 0: keep nothing */
  constructor(maxBytes: number) {
    if (maxBytes === 0) return;
    this.#entries = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: ({ bytes }) => bytes.length + OVERHEAD,
    });
  }

  get bytes(): number {
    return this.#entries?.calculatedSize ?? 0;
  }

  get(dev: number, fid: number, sha256: string): Buffer | undefined {
    const entry = this.#entries?.get(`${dev}/${fid}`);
    if (entry?.sha256 === sha256) {
      this.hits++;
      return entry.bytes;
    }
    this.misses++;
    return undefined;
  }

  /** Begins to read a blob; the answer keeps the bytes, unless a blob was dropped meanwhile. */
  reading(dev: number, fid: number): (sha256: string, bytes: Buffer) => void {
    const before = this.#removals;
    return (sha256, bytes) => {
      if (this.#removals === before) this.#entries?.set(`${dev}/${fid}`, { sha256, bytes });
    };
  }

  drop(dev: number, fid: number): void {
    this.#removals++;
    this.#entries?.delete(`${dev}/${fid}`);
  }

  dropDevice(dev: number): void {
    this.#removals++;
    for (const key of this.#entries?.keys() ?? []) {
      if (key.startsWith(`${dev}/`)) this.#entries?.delete(key);
    }
  }
}
