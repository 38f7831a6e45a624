// Sends what arrives together as one statement: the database then does one round trip, and one fsync, for all of it.

interface Waiting<In, Out> {
  item: In;
  resolve(value: Out): void;
  reject(error: unknown): void;
}

export interface BatcherOptions<In> {
  /** Most items in a batch. */
  size: number;
  /** Most batches under way at once; what arrives meanwhile gathers for the next. */
  concurrency: number;
  /** Items with equal keys never share a batch. */
  key?: (item: In) => string;
}

/**
 * Gathers items and runs them in batches. A batch takes only what was added before it is sent: a look-up that begins
 * after a write was acknowledged therefore never gets an answer from before it.
 */
export class Batcher<In, Out> {
  #waiting: Waiting<In, Out>[] = [];
  #running = 0;
  #scheduled = false;
  readonly #run: (items: In[]) => Promise<(Out | Error)[]>;
  readonly #options: BatcherOptions<In>;

  /** @param run answers with a result or an Error for each item, in order; if it throws, all of them fail */
  constructor(run: (items: In[]) => Promise<(Out | Error)[]>, options: BatcherOptions<In>) {
    this.#run = run;
    this.#options = options;
  }

  add(item: In): Promise<Out> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      this.#schedule();
    });
  }

  /** Fails what was not sent yet. */
  dropWaiting(error: unknown): void {
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }

  #schedule(): void {
    if (this.#scheduled || this.#running >= this.#options.concurrency || this.#waiting.length === 0) return;
    this.#scheduled = true;
    // After the I/O events of this turn, so that requests which arrived together are found together.
    setImmediate(() => {
      this.#scheduled = false;
      while (this.#running < this.#options.concurrency && this.#waiting.length > 0) void this.#send();
    });
  }

  async #send(): Promise<void> {
    const batch = this.#take();
    this.#running++;
    try {
      const results = await this.#run(batch.map((waiting) => waiting.item));
      for (const [i, waiting] of batch.entries()) {
        const result = results[i] as Out | Error;
        if (result instanceof Error) waiting.reject(result);
        else waiting.resolve(result);
      }
    } catch (error) {
      for (const waiting of batch) waiting.reject(error);
    } finally {
      this.#running--;
      this.#schedule();
    }
  }

  #take(): Waiting<In, Out>[] {
    const { size, key } = this.#options;
    if (key === undefined) return this.#waiting.splice(0, size);
    const batch: Waiting<In, Out>[] = [];
    const left: Waiting<In, Out>[] = [];
    const seen = new Set<string>();
    for (const waiting of this.#waiting) {
      const id = key(waiting.item);
      if (batch.length < size && !seen.has(id)) batch.push(waiting);
      else left.push(waiting);
      seen.add(id);
    }
    this.#waiting = left;
    return batch;
  }
}
