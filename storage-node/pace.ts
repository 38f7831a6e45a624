// How fast a device is scrubbed: as fast as a pass needs to be done in time, never above the bound, and slower while
// others want the disk.
import { delay } from '../services/lifecycle.ts';

/** Some time is kept in hand, for outages and restarts. */
const IN_HAND = 0.9;
/** Whatever a device holds, it is read at this rate at least: a pass that ends early does no harm. */
const SLOWEST_BYTES_PER_SECOND = 64 * 1024;
/** What a blob costs beside its bytes: finding it on the disk. */
const BLOB_BYTES = 16 * 1024;
/** Requests that are being served go first, but hold a piece up for no longer than this. */
const YIELD_MS = 250;

export interface Paced {
  /** Requests that use the disk now. */
  readonly active: number;
  readonly space: { readonly used: number };
}

export class Pace {
  readonly #device: Paced;
  readonly #passMs: number;
  readonly #fastest: number;
  readonly #signal: AbortSignal;
  #next = 0;

  /** @param passMs in which the whole device shall be read; @param fastest bytes a second */
  constructor(device: Paced, passMs: number, fastest: number, signal: AbortSignal) {
    this.#device = device;
    this.#passMs = passMs;
    this.#fastest = fastest;
    this.#signal = signal;
  }

  get bytesPerSecond(): number {
    const needed = this.#device.space.used / ((this.#passMs / 1000) * IN_HAND);
    return Math.min(this.#fastest, Math.max(SLOWEST_BYTES_PER_SECOND, needed));
  }

  /** Waits until more may be read, after `bytes` were. Throws when the signal is aborted. */
  async rest(bytes: number): Promise<void> {
    const now = performance.now();
    const cost = Math.max(bytes, BLOB_BYTES);
    this.#next = Math.max(this.#next, now) + (cost / this.bytesPerSecond) * 1000;
    await delay(this.#next - now, this.#signal);
    const patience = performance.now() + YIELD_MS;
    while (this.#device.active > 0 && performance.now() < patience && !this.#signal.aborted) {
      await delay(5, this.#signal);
    }
    this.#signal.throwIfAborted();
  }
}
