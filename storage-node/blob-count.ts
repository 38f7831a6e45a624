// How many blobs a device holds, and the highest fid: counted once for each disk that appears, followed from then on.
import type { Logger } from '../services/logging.ts';
import type { BlobStore } from './blob-store.ts';
import { reason } from './inspection.ts';

export class BlobCount {
  highest = 0;
  readonly #store: BlobStore;
  readonly #log: Logger;
  #blobs = 0;
  #countedBefore = 0;
  #counting = new AbortController();

  constructor(store: BlobStore, log: Logger) {
    this.#store = store;
    this.#log = log;
  }

  get blobs(): number {
    return Math.max(0, this.#blobs);
  }

  /** Finds the highest fid; goes on counting in the background. */
  async open(device: number): Promise<void> {
    this.highest = await this.#store.highestFid();
    this.#counting.abort();
    this.#counting = new AbortController();
    this.#blobs = 0;
    this.#countedBefore = 0;
    this.#store
      .count((blobs, before) => {
        this.#blobs += blobs;
        this.#countedBefore = before;
      }, this.#counting.signal)
      .then(() => {
        this.#countedBefore = Number.POSITIVE_INFINITY;
      })
      .catch((error) => this.#log.warn({ device, why: reason(error) }, 'blobs were not counted'));
  }

  /** A blob was stored or removed. Those in directories not counted yet will be. */
  changed(fid: number, by: 1 | -1): void {
    if (by === 1) this.highest = Math.max(this.highest, fid);
    if (fid < this.#countedBefore) this.#blobs += by;
  }

  stop(): void {
    this.#counting.abort();
  }
}
