// Work that is looked for again and again: at once while there is more, else after a pause or when somebody wakes it.
import { delay } from '../../services/lifecycle.ts';
import type { Logger } from '../../services/logging.ts';

export interface LoopOptions {
  name: string;
  log: Logger;
  /** Seconds between two looks when the last one found nothing more to do. */
  pause: number;
  /** One look. True: there may be more to do at once. What it throws is logged, and it is tried again. */
  work: (signal: AbortSignal) => Promise<boolean>;
}

export class Loop {
  readonly #options: LoopOptions;
  readonly #stopping = new AbortController();
  #pausing = new AbortController();
  #woken = false;
  #running: Promise<void> | undefined;

  constructor(options: LoopOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** There may be something to do: look now, or once more if a look is under way. */
  wake(): void {
    this.#woken = true;
    this.#pausing.abort();
  }

  /** Resolves when the look that is under way has ended. Its signal is aborted. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { name, log, pause, work } = this.#options;
    let failing = false;
    while (!signal.aborted) {
      this.#woken = false;
      this.#pausing = new AbortController();
      let more = false;
      let failed = false;
      try {
        more = await work(signal);
      } catch (err) {
        failed = true;
        if (!failing && !signal.aborted) log.warn({ err, loop: name }, `${name} failed and is tried again`);
      }
      if (failing && !failed) log.info({ loop: name }, `${name} works again`);
      failing = failed;
      // After a failure even a wake must not turn the loop into a storm.
      if (failed) await delay(Math.max(pause, 1) * 1000, signal);
      else if (!more && !this.#woken) await delay(pause * 1000, this.#pausing.signal);
    }
  }
}
