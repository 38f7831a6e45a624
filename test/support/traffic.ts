// Clients that write and read without a pause while something is done to the cluster, by the client of the `cistern`
// command: it goes on to the next tracker when one is away, and so may be what is asked again.
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Api, filePath, idempotent } from '../../ops/lib/api.ts';
import type { Cluster } from './cluster.ts';
import { waitFor } from './wait.ts';

/** Time between two requests of a client: the machine has other things to do. */
const PAUSE_MS = 50;

export class Traffic {
  /** Requests that succeeded: uploads, and downloads with the right bytes. */
  done = 0;
  readonly failures: string[] = [];
  readonly #cluster: Cluster;
  #api: Api;
  readonly #made: Api[] = [];
  #running: Promise<unknown> = Promise.resolve();
  #stopped = false;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.#api = this.#client(cluster.token);
  }

  start(clients = 3): this {
    this.#running = Promise.all(Array.from({ length: clients }, (_, i) => this.#run(`client-${i}`)));
    return this;
  }

  /** From the next request on, another token. */
  use(token: string): void {
    this.#api = this.#client(token);
  }

  /** Waits until so many more requests have succeeded. */
  async more(count = 12): Promise<void> {
    const until = this.done + count;
    await waitFor(() => this.done >= until || this.failures.length > 0, {
      what: `${count} more requests`,
      timeout: 120_000,
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
    await Promise.all(this.#made.map((api) => api.close()));
  }

  #client(token: string): Api {
    const urls = this.#cluster.trackers.map(({ url }) => new URL(url));
    const api = new Api(urls, token);
    this.#made.push(api);
    return api;
  }

  async #run(name: string): Promise<void> {
    for (let i = 0; !this.#stopped; i++) {
      const bytes = randomBytes(i % 5 === 4 ? 300_000 : 2_000);
      const path = filePath(this.#cluster.domain, `${name}/${i % 20}`);
      await this.#try(`PUT ${path}`, (api) =>
        api.send({ method: 'PUT', path, headers: idempotent(), body: () => bytes }),
      );
      await this.#try(`GET ${path}`, async (api) => {
        const { body } = await api.request({ method: 'GET', path });
        if (!Buffer.from(await body.arrayBuffer()).equals(bytes)) throw new Error('it read other bytes');
      });
      await sleep(PAUSE_MS);
    }
  }

  async #try(what: string, work: (api: Api) => Promise<void>): Promise<void> {
    try {
      await work(this.#api);
      this.done++;
    } catch (error) {
      this.failures.push(`${what}: ${(error as Error).message}`);
    }
  }
}
