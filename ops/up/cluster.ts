// The processes of one `cistern up`: which there are, with which settings, and in which order they start and stop.
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Failure } from '../lib/failure.ts';
import { freePort, isFree } from './ports.ts';
import { ensureDatabase, startPostgres } from './postgres.ts';
import { awaitEnd, type Recorded, record } from './processes.ts';
import { type Instance, startService } from './service.ts';
import type { HostLayout, Layout, Running, Secrets, State } from './state.ts';
import { Supervised } from './supervise.ts';

export interface ClusterOptions {
  port: number;
  nodes?: number;
  devices: number;
  trackers: number;
}

// In a package all files are compiled: they have the extension that this one has.
const EXTENSION = extname(import.meta.url);
const TRACKER = fileURLToPath(new URL(`../../tracker/main${EXTENSION}`, import.meta.url));
const STORAGE_NODE = fileURLToPath(new URL(`../../storage-node/main${EXTENSION}`, import.meta.url));
// A crashed supervisor's services get this long to end by themselves.
const LEFT_OVER_MS = 10_000;
// A laptop's disk is not filled to the last byte by a demo.
const RESERVE_BYTES = 256 * 1024 * 1024;

export class Cluster {
  readonly secrets: Secrets;
  readonly #state: State;
  readonly #options: ClusterOptions;
  readonly #say: (line: string) => void;
  readonly #layout: Layout;
  readonly #ports: number[] = [];
  #postgres: Supervised | undefined;
  #trackers: Supervised[] = [];
  #nodes: { layout: HostLayout; child: Supervised }[] = [];
  #changed = () => {};
  #stopping = false;

  /** @param say tells the operator, on stderr */
  constructor(state: State, options: ClusterOptions, say: (line: string) => void) {
    this.#state = state;
    this.#options = options;
    this.#say = say;
    this.secrets = state.secrets();
    this.#layout = state.layout(options.nodes, options.devices);
  }

  /**
   * Starts everything; resolves when every process listens, which is before the cluster is ready.
   * @param changed called when a process was started again
   */
  async start(changed: () => void): Promise<void> {
    const { port, nodes, trackers } = this.#options;
    if (port !== 0 && !(await isFree(port))) {
      throw new Failure(`port ${port} on 127.0.0.1 is taken`, {
        todo: 'name another with --port, or take any free one with --port 0',
      });
    }
    await awaitEnd(this.#state.read<Recorded[]>('processes.json') ?? [], LEFT_OVER_MS);
    this.#changed = () => {
      this.#recordProcesses();
      changed();
    };
    const hosts = this.#layout.hosts.slice(0, nodes);
    const ports = [await this.#takePort(port)];
    while (ports.length < trackers) ports.push(await this.#takePort(0));
    for (const host of hosts) host.port = await this.#takePort(host.port);
    this.#layout.postgresPort = await this.#takePort(this.#layout.postgresPort);
    this.#state.write('layout.json', this.#layout);

    const database = await this.#startPostgres(this.#layout.postgresPort);
    this.#trackers = ports.map((port, i) => this.#tracker(i + 1, port, database));
    const urls = ports.map((port) => `http://127.0.0.1:${port}`);
    this.#nodes = hosts.map((layout) => ({ layout, child: this.#node(layout, urls) }));
    await Promise.all(this.#services().map((child) => child.start(this.#changed)));
  }

  /** What runs now. */
  describe(): Omit<Running, 'domain' | 'token'> {
    const trackers = this.#trackers.map((child) => child.instance.url);
    return {
      pid: process.pid,
      tracker: trackers[0] as string,
      trackers,
      adminToken: this.secrets.adminToken,
      nodes: this.#nodes.map(({ layout: { name, devices }, child: { instance } }) => ({
        host: name,
        url: instance.url,
        pid: instance.pid,
        devices: devices.map((id) => ({ id, path: this.#state.devicePath(name, id) })),
      })),
      database: this.#databaseUrl(),
    };
  }

  /**
   * Stops everything in order. The trackers go first: what they have accepted still finds the nodes.
   */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#trackers.map((child) => child.stop()));
    await Promise.all(this.#nodes.map(({ child }) => child.stop()));
    await this.#postgres?.stop();
    this.#state.remove('processes.json');
  }

  /** Ends everything at once. */
  kill(): void {
    for (const child of this.#services()) child.kill();
    this.#postgres?.kill();
  }

  async #startPostgres(port: number): Promise<string> {
    const start = async (): Promise<Instance> => {
      const server = await startPostgres({
        directory: this.#state.path('postgres'),
        password: this.secrets.databasePassword,
        port,
        logFile: this.#state.logFile('postgres'),
        // Enough for sixteen trackers with their pools.
        settings: { max_connections: '200' },
      });
      await ensureDatabase(server, 'cistern');
      return server;
    };
    this.#postgres = new Supervised('PostgreSQL', start, this.#say);
    await this.#postgres.start(this.#changed);
    if (this.#stopping) throw new Failure('interrupted');
    return this.#databaseUrl();
  }

  #databaseUrl(): string {
    const url = new URL((this.#postgres as Supervised).instance.url);
    url.pathname = '/cistern';
    return url.href;
  }

  #tracker(number: number, port: number, database: string): Supervised {
    const name = `tracker-${number}`;
    const env = {
      CISTERN_PORT: String(port),
      CISTERN_DATABASE_URL: database,
      CISTERN_ADMIN_TOKEN: this.secrets.adminToken,
    };
    return this.#service(`tracker ${number}`, TRACKER, name, env);
  }

  #node(host: HostLayout, trackers: string[]): Supervised {
    const env = {
      CISTERN_HOST: host.name,
      CISTERN_PORT: String(host.port),
      CISTERN_TRACKERS: trackers.join(','),
      CISTERN_DEVICES: host.devices.map((id) => this.#state.devicePath(host.name, id)).join(','),
      CISTERN_RESERVE_BYTES: String(RESERVE_BYTES),
    };
    return this.#service(`storage node ${host.name}`, STORAGE_NODE, host.name, env);
  }

  #service(name: string, main: string, log: string, env: Record<string, string>): Supervised {
    const all = { CISTERN_CLUSTER_KEY: this.secrets.clusterKey, ...env };
    const logFile = this.#state.logFile(log);
    return new Supervised(name, () => startService({ name, main, env: all, logFile }), this.#say);
  }

  #services(): Supervised[] {
    return [...this.#trackers, ...this.#nodes.map(({ child }) => child)];
  }

  #recordProcesses(): void {
    const running = this.#services().flatMap((child) => child.pid ?? []);
    this.#state.write(
      'processes.json',
      running.flatMap((pid) => record(pid) ?? []),
    );
  }

  /** A free port that no other part of this cluster was given: the one of last time, if possible. */
  async #takePort(last: number | undefined): Promise<number> {
    const port = await freePort(last, this.#ports);
    this.#ports.push(port);
    return port;
  }
}
