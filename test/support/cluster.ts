// A cluster for tests: real tracker and storage node processes on free ports, real disks, timings made short.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll } from 'vitest';
import { freePort } from '../../ops/up/ports.ts';
import { DEMO_DOMAIN, makeDemo, whenReady } from '../../ops/up/ready.ts';
import { type Instance, type ServiceOptions, startService } from '../../ops/up/service.ts';
import { createDatabase } from './postgres.ts';

export interface ClusterOptions {
  trackers?: number;
  nodes?: number;
  /** Of each node. */
  devices?: number;
  /** Settings beside or instead of those below, for `tracker`s and storage `node`s. */
  env?: { tracker?: Record<string, string>; node?: Record<string, string> };
  /** URL of an empty database to use, instead of a fresh one on the shared server. */
  database?: string;
  /** Directory to keep the devices in, instead of a temporary one. */
  disks?: string;
  /** Puts something between the parts: answers with the URL at which the others shall reach this part, or the 'database'. */
  network?: (name: string, url: string) => Promise<string>;
}

// What takes minutes in service takes a second here.
const TRACKER_ENV = { CISTERN_DOWN_SECONDS: '1.5', CISTERN_STATE_SECONDS: '0.2' };
const NODE_ENV = {
  CISTERN_HEARTBEAT_SECONDS: '0.3',
  CISTERN_RESERVE_BYTES: '1048576',
  // Tests that spoil replicas say who is to find them.
  CISTERN_SCRUB_DAYS: '0',
};
const CLUSTER_KEY = 'a cluster key for tests, of 32 bytes or more';
const ADMIN_TOKEN = 'admin-token-of-the-tests';
const LOG_TAIL = 8_000;

/** A process of the cluster; it keeps its URL when it is started again. */
export class Part {
  readonly name: string;
  readonly url: string;
  readonly #options: ServiceOptions;
  #instance: Instance | undefined;

  constructor(name: string, port: number, main: string, root: string, env: Record<string, string>) {
    this.name = name;
    this.url = `${env.CISTERN_TLS_CERT_FILE === undefined ? 'http' : 'https'}://127.0.0.1:${port}`;
    const logFile = join(root, `${name}.log`);
    const all = { CISTERN_CLUSTER_KEY: CLUSTER_KEY, CISTERN_PORT: String(port), ...env };
    this.#options = { name, main: new URL(`../../${main}`, import.meta.url).pathname, env: all, logFile };
  }

  get pid(): number {
    if (this.#instance === undefined) throw new Error(`${this.name} does not run`);
    return this.#instance.pid;
  }

  /** Other settings, from the next start on. */
  set(env: Record<string, string>): void {
    Object.assign(this.#options.env, env);
  }

  async start(): Promise<void> {
    this.#instance = await startService(this.#options);
  }

  /** Changes settings, from the next start on. */
  configure(settings: Record<string, string>): void {
    Object.assign(this.#options.env, settings);
  }

  /** Sends a signal; resolves when the process has ended, or at once for signals that do not end it. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.#instance?.kill(signal);
    if (signal !== 'SIGSTOP' && signal !== 'SIGCONT') await this.#instance?.exited;
  }

  /** Ends it cleanly. Returns how it ended: 'exit code 0'. */
  async stop(): Promise<string | undefined> {
    this.#instance?.kill('SIGCONT');
    await this.#instance?.stop();
    return this.#instance?.exited;
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }
}

export class NodePart extends Part {
  readonly host: string;
  readonly devices: { id: number; path: string }[];

  constructor(
    host: string,
    port: number,
    root: string,
    ids: number[],
    env: Record<string, string>,
    disks = root,
  ) {
    const devices = ids.map((id) => ({ id, path: join(disks, host, `dev${id}`) }));
    for (const { path } of devices) mkdirSync(path, { recursive: true });
    const own = { CISTERN_HOST: host, CISTERN_DEVICES: devices.map(({ path }) => path).join(',') };
    super(host, port, 'storage-node/main.ts', root, { ...NODE_ENV, ...own, ...env });
    this.host = host;
    this.devices = devices;
  }

  /** Another, empty disk in the place of a lost one, from the next start on. */
  replaceDisk(lost: number, id: number): void {
    const place = this.devices.findIndex((device) => device.id === lost);
    const { path: former } = this.devices[place] as { path: string };
    const path = join(dirname(former), `dev${id}`);
    mkdirSync(path);
    rmSync(former, { recursive: true });
    this.devices[place] = { id, path };
    this.configure({ CISTERN_DEVICES: this.devices.map((device) => device.path).join(',') });
  }
}

/** What `request` sends beside method and path. */
export interface RequestOptions {
  /** Sent as it is; an object that is no bytes is sent as JSON. */
  body?: string | Uint8Array | object;
  headers?: Record<string, string>;
  /** Instead of the demo domain's token. */
  token?: string;
  /** Which tracker; the first. */
  tracker?: number;
}

export class Cluster {
  readonly domain = DEMO_DOMAIN;
  readonly adminToken = ADMIN_TOKEN;
  readonly clusterKey = CLUSTER_KEY;
  readonly database: string;
  readonly trackers: Part[];
  readonly nodes: NodePart[];
  /** For the demo domain: scopes read and write, redirects allowed. */
  token = '';
  readonly #root: string;
  readonly #dropDatabase: () => Promise<void>;

  constructor(
    root: string,
    database: string,
    dropDatabase: () => Promise<void>,
    trackers: Part[],
    nodes: NodePart[],
  ) {
    this.#root = root;
    this.database = database;
    this.#dropDatabase = dropDatabase;
    this.trackers = trackers;
    this.nodes = nodes;
  }

  /** Asks a tracker, as the demo token unless told otherwise. */
  request(method: string, path: string, options: RequestOptions = {}): Promise<Response> {
    const { body, headers = {}, token = this.token, tracker = 0 } = options;
    const raw = typeof body === 'string' || body instanceof Uint8Array || body === undefined;
    const type = raw ? {} : { 'content-type': 'application/json' };
    return fetch(`${this.trackers[tracker]?.url}${path}`, {
      method,
      redirect: 'manual',
      headers: { authorization: `Bearer ${token}`, ...type, ...headers },
      ...(body !== undefined && {
        body: (raw ? body : JSON.stringify(body)) as NonNullable<RequestInit['body']>,
      }),
    });
  }

  /** A token for the demo domain: for reading, with these fields of `POST /v1/tokens` beside or instead. */
  async makeToken(fields: { scopes?: string[]; prefix?: string; redirect?: boolean } = {}): Promise<string> {
    const body = { name: 'made by a test', scopes: ['read'], domain: this.domain, ...fields };
    const answer = await this.request('POST', '/v1/tokens', { token: ADMIN_TOKEN, body });
    const { token, detail } = (await answer.json()) as { token?: string; detail?: string };
    if (token === undefined) throw new Error(`no token was made: ${detail}`);
    return token;
  }

  /** Waits until every tracker is ready and every device that is not dead serves. */
  async ready(timeout = 30_000): Promise<void> {
    const trackers = this.trackers.map(({ url }) => url);
    const signal = AbortSignal.timeout(timeout);
    let missing = 'nothing was seen yet';
    const waiting = (why: string) => {
      missing = why;
    };
    try {
      await whenReady({ trackers, nodes: this.nodes, adminToken: ADMIN_TOKEN, signal, waiting, every: 500 });
    } catch (error) {
      throw new Error(`the cluster is not ready after ${timeout} ms: ${missing}`, { cause: error });
    }
  }

  /** The end of each process's log, for a failed test; up to `tail` characters of it. */
  logs(tail = LOG_TAIL): string {
    return readdirSync(this.#root)
      .filter((name) => name.endsWith('.log'))
      .map((name) => `--- ${name}\n${readFileSync(join(this.#root, name), 'utf8').slice(-tail)}`)
      .join('\n');
  }

  /** Starts all parts and waits until they are ready. */
  async start(): Promise<void> {
    await Promise.all([...this.trackers, ...this.nodes].map((part) => part.start()));
    await this.ready();
    const tracker = this.trackers[0] as Part;
    this.token = await makeDemo(tracker.url, ADMIN_TOKEN, undefined, AbortSignal.timeout(10_000));
  }

  /** Stops all parts and removes their disks and the database. */
  async stop(): Promise<void> {
    await Promise.all(this.trackers.map((part) => part.stop()));
    await Promise.all(this.nodes.map((part) => part.stop()));
    await this.#dropDatabase();
    rmSync(this.#root, { recursive: true, force: true });
  }
}

/** Starts a cluster that is ready; the caller stops it. In most tests `useCluster` is simpler. */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const { trackers = 1, nodes = 3, devices = 2, env = {} } = options;
  const root = mkdtempSync(join(tmpdir(), 'cistern-test-'));
  const own = { url: options.database ?? '', drop: async () => {} };
  const database = options.database === undefined ? await createDatabase() : own;
  const ports: number[] = [];
  while (ports.length < trackers + nodes) ports.push(await freePort(0, ports));
  const { network = async (_name: string, url: string) => url } = options;
  const databaseUrl = await network('database', database.url);
  const trackerParts = ports.slice(0, trackers).map((port, i) => {
    const name = `tracker-${i + 1}`;
    // Its sessions carry its name, so that a test can tell whose they are.
    const sessions = `${databaseUrl}${databaseUrl.includes('?') ? '&' : '?'}application_name=${name}`;
    const own = { CISTERN_DATABASE_URL: sessions, CISTERN_ADMIN_TOKEN: ADMIN_TOKEN };
    return new Part(name, port, 'tracker/main.ts', root, { ...TRACKER_ENV, ...own, ...env.tracker });
  });
  const trackerUrls = await Promise.all(trackerParts.map(({ name, url }) => network(name, url)));
  const nodeEnv = { CISTERN_TRACKERS: trackerUrls.join(','), ...env.node };
  const nodeParts = await Promise.all(
    ports.slice(trackers).map(async (port, i) => {
      const ids = Array.from({ length: devices }, (_, d) => i * devices + d + 1);
      const name = `h${i + 1}`;
      const scheme = env.node?.CISTERN_TLS_CERT_FILE === undefined ? 'http' : 'https';
      const own = { ...nodeEnv, CISTERN_URL: await network(name, `${scheme}://127.0.0.1:${port}`) };
      return new NodePart(name, port, root, ids, own, options.disks);
    }),
  );
  const cluster = new Cluster(root, database.url, database.drop, trackerParts, nodeParts);
  try {
    await cluster.start();
    return cluster;
  } catch (error) {
    process.stderr.write(`${cluster.logs()}\n`);
    await cluster.stop();
    throw error;
  }
}

/**
 * Gives the tests of a file, or of a `describe`, one cluster. Logs are printed when a test fails.
 * @returns a function that gives the cluster, within tests
 */
export function useCluster(options: ClusterOptions = {}): () => Cluster {
  let cluster: Cluster | undefined;
  beforeAll(async () => {
    cluster = await startCluster(options);
  });
  afterEach(({ task }) => {
    if (task.result?.state === 'fail') process.stderr.write(`${cluster?.logs()}\n`);
  });
  afterAll(async () => {
    await cluster?.stop();
  });
  return () => {
    if (cluster === undefined) throw new Error('the cluster runs within tests only');
    return cluster;
  };
}
