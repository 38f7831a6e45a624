// Arms fail points (services/fail-points.ts) in a cluster's processes, and tells which process one struck.
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Cluster, ClusterOptions, Part } from './cluster.ts';
import { waitFor } from './wait.ts';

/** What happens at a point: the process is killed, stands still until SIGCONT, or gets this error. */
export type Action = 'kill' | 'stop' | 'EIO';

export class FailPoints {
  readonly #directory = mkdtempSync(join(tmpdir(), 'cistern-fail-points-'));

  constructor() {
    mkdirSync(join(this.#directory, 'armed'));
  }

  /** What CISTERN_FAIL_POINTS is to be. */
  get armed(): string {
    return join(this.#directory, 'armed');
  }

  /** The options of a cluster whose processes have the points. */
  into(options: ClusterOptions): ClusterOptions {
    const own = { CISTERN_FAIL_POINTS: this.armed, NODE_ENV: 'test' };
    const { tracker, node } = options.env ?? {};
    return { ...options, env: { tracker: { ...tracker, ...own }, node: { ...node, ...own } } };
  }

  /** The first process that comes by `point` will fail there, once. */
  arm(point: string, action: Action): void {
    const written = join(this.#directory, point);
    writeFileSync(written, action);
    renameSync(written, join(this.#directory, 'armed', point));
  }

  /** The process that `point` has struck; waits for it. */
  struck({ trackers, nodes }: Pick<Cluster, 'trackers' | 'nodes'>, point: string): Promise<Part> {
    const look = () => {
      const name = readdirSync(join(this.#directory, 'armed')).find((file) => file.startsWith(`${point}.`));
      const pid = Number(name?.slice(point.length + 1));
      return [...trackers, ...nodes].find((part) => part.pid === pid);
    };
    return waitFor(look, { what: `somebody to come by the fail point '${point}'`, timeout: 180_000 });
  }

  /** Disarms what is armed, and forgets what was struck. */
  reset(): void {
    const armed = join(this.#directory, 'armed');
    for (const name of readdirSync(armed)) rmSync(join(armed, name));
  }

  remove(): void {
    rmSync(this.#directory, { recursive: true });
  }
}
