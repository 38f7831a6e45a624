// Keeps one child process running: what dies is started again, after a pause that grows while it keeps dying.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Instance } from './service.ts';

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
// What ran for so long before it died gets the first pause again.
const STEADY_MS = 60_000;

export class Supervised {
  readonly name: string;
  readonly #start: () => Promise<Instance>;
  readonly #say: (line: string) => void;
  readonly #stopping = new AbortController();
  #instance: Instance | undefined;
  #done: Promise<void> = Promise.resolve();

  /**
   * @param start starts the process and resolves when it answers
   * @param say tells the operator
   */
  constructor(name: string, start: () => Promise<Instance>, say: (line: string) => void) {
    this.name = name;
    this.#start = start;
    this.#say = say;
  }

  /** The process that runs now, or the last one that did. */
  get instance(): Instance {
    if (this.#instance === undefined) throw new Error(`${this.name} was not started`);
    return this.#instance;
  }

  /** Of the process that was started last, if any was. */
  get pid(): number | undefined {
    return this.#instance?.pid;
  }

  /** Starts it, and from then on keeps it running. A first start that fails is the caller's to judge. */
  async start(changed: () => void): Promise<void> {
    const first = this.#start();
    this.#done = first.then(
      (instance) => this.#keep(instance, changed),
      () => {},
    );
    await first;
  }

  /** Stops it for good; resolves when it has ended. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#instance?.stop();
    await this.#done;
  }

  /** Ends it at once. */
  kill(): void {
    this.#stopping.abort();
    this.#instance?.kill('SIGKILL');
  }

  async #keep(instance: Instance, changed: () => void): Promise<void> {
    const { signal } = this.#stopping;
    let running: Instance | undefined = instance;
    let pause = FIRST_PAUSE_MS;
    for (;;) {
      let how: string;
      const began = Date.now();
      try {
        running ??= await this.#startAgain();
        this.#instance = running;
        if (signal.aborted) return await running.stop();
        changed();
        how = `${this.name} ended (${await running.exited})`;
      } catch (error) {
        how = (error as Error).message;
      }
      if (signal.aborted) return;
      running = undefined;
      if (Date.now() - began > STEADY_MS) pause = FIRST_PAUSE_MS;
      this.#say(`${how}; starting it again in ${pause / 1000} s`);
      await sleep(pause, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  }

  async #startAgain(): Promise<Instance> {
    const instance = await this.#start();
    this.#say(`${this.name} is back (process ${instance.pid})`);
    return instance;
  }
}
