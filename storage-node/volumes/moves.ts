// What a compaction moves: some records at once, and not all the time, since others want the disk.
import { setTimeout as delay } from 'node:timers/promises';

/** Records that are on their way at once, in memory. */
const AT_ONCE = 16;
/** When so much was done it rests for as long as that took: who is served meanwhile has the disk half of the time. */
const STRETCH_BYTES = 1024 * 1024;
const LONGEST_REST_MS = 500;

export class Moves {
  readonly #running = new Set<Promise<void>>();
  #bytes = 0;
  #began = performance.now();
  failure: unknown;

  /** Resolves when another one may begin. */
  async add(bytes: number, move: () => Promise<void>): Promise<void> {
    const moved: Promise<void> = move()
      .catch((error: unknown) => {
        this.failure ??= error;
      })
      .finally(() => this.#running.delete(moved));
    this.#running.add(moved);
    if (this.#running.size >= AT_ONCE) await Promise.race(this.#running);
    this.#bytes += bytes;
    if (this.#bytes < STRETCH_BYTES) return;
    await delay(Math.min(performance.now() - this.#began, LONGEST_REST_MS));
    this.#bytes = 0;
    this.#began = performance.now();
  }

  /** Resolves when all have ended. @throws what the first that failed threw */
  async end(): Promise<void> {
    await Promise.all(this.#running);
    if (this.failure !== undefined) throw this.failure;
  }
}
