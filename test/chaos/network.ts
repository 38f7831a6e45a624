// The network between clients, trackers, nodes and database: a proxy before each part, through which all others reach
// it, and which cuts, delays and holds up what passes.
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClusterOptions } from '../support/cluster.ts';
import { type Fault, FaultProxy } from '../support/fault-proxy.ts';
import { pause } from './faults.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

export class Network {
  readonly #links = new Map<string, FaultProxy>();

  /** The options of a cluster whose parts speak through this network. */
  into(options: ClusterOptions): ClusterOptions {
    const network = async (name: string, url: string) => {
      const link = await new FaultProxy(url).start();
      this.#links.set(name, link);
      const through = new URL(url);
      through.port = new URL(link.url).port;
      through.hostname = '127.0.0.1';
      return through.href.replace(/\/$/, '');
    };
    return { ...options, network };
  }

  /** Where the part is reached. */
  url(name: string): string {
    const link = this.#links.get(name);
    if (link === undefined) throw new Error(`there is no link to ${name}`);
    return link.url;
  }

  /** One link after another fails for a while, until `signal` is aborted; all are whole when it returns. */
  async fail(world: World, random: Random, signal: AbortSignal): Promise<void> {
    while (await pause(random.between(500, 4_000), signal)) {
      const name = random.pick([...this.#links.keys()]);
      const link = this.#links.get(name) as FaultProxy;
      const fault = chooseFault(random);
      world.count(`network ${fault.kind}`);
      await link.set(fault);
      await sleep(random.between(200, 3_000));
      await link.set(undefined);
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#links.values()].map((link) => link.stop()));
  }
}

function chooseFault(random: Random): Fault {
  const kind = random.weighted({ reset: 3, end: 1, stall: 3, delay: 2, refuse: 2 });
  const way = random.pick(['answer', 'request'] as const);
  return { kind, way, after: random.between(0, 5_000), delay: random.between(20, 200) };
}
