// Where the tests' PostgreSQL comes from: the one that CISTERN_TEST_DATABASE_URL names, else testcontainers where a
// Docker engine answers and the image can be had, else the embedded one.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../ops/up/ports.ts';
import { type PostgresInstance, startPostgres } from '../../ops/up/postgres.ts';

export interface SharedPostgres {
  /** As a user who may make databases. */
  url: string;
  stop(): Promise<void>;
}

const IMAGE = 'postgres:18';
// Several test files use it at once, each with several trackers. What a crash of the machine would lose is no loss
// here; a crash of the server loses nothing without fsync either.
const SETTINGS = { max_connections: '300', fsync: 'off' };

export async function startSharedPostgres(): Promise<SharedPostgres> {
  const given = process.env.CISTERN_TEST_DATABASE_URL;
  if (given) return { url: given, stop: async () => {} };
  const container = await startContainer();
  if (container !== undefined) return container;
  const server = await EmbeddedServer.create(SETTINGS);
  return { url: server.url, stop: () => server.remove() };
}

async function startContainer(): Promise<SharedPostgres | undefined> {
  try {
    const { getContainerRuntimeClient } = await import('testcontainers');
    await getContainerRuntimeClient();
  } catch {
    return undefined;
  }
  try {
    const { PostgreSqlContainer } = await import('@testcontainers/postgresql');
    const flags = Object.entries(SETTINGS).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const container = await new PostgreSqlContainer(IMAGE).withCommand(['postgres', ...flags]).start();
    return { url: container.getConnectionUri(), stop: async () => void (await container.stop()) };
  } catch (error) {
    const why = (error as Error).message.split('\n')[0];
    process.stderr.write(`${IMAGE} cannot be had (${why}): the tests use the embedded PostgreSQL\n`);
    return undefined;
  }
}

/** A server of a test's own, for outages. Its data is in a temporary directory. */
export class EmbeddedServer {
  readonly #start: () => Promise<PostgresInstance>;
  readonly #root: string;
  #instance: PostgresInstance;

  private constructor(root: string, start: () => Promise<PostgresInstance>, instance: PostgresInstance) {
    this.#root = root;
    this.#start = start;
    this.#instance = instance;
  }

  static async create(settings: Record<string, string> = {}): Promise<EmbeddedServer> {
    const root = await mkdtemp(join(tmpdir(), 'cistern-test-postgres-'));
    const place = { directory: join(root, 'data'), logFile: join(root, 'log') };
    const port = await freePort();
    const start = () => startPostgres({ ...place, password: 'test', port, settings });
    return new EmbeddedServer(root, start, await start());
  }

  /** Of the database `postgres`; the same after each start. */
  get url(): string {
    return this.#instance.url;
  }

  /** A fast shutdown: sessions are cut off. */
  async stop(): Promise<void> {
    await this.#instance.stop();
  }

  /** kill -9. */
  async kill(): Promise<void> {
    this.#instance.kill('SIGKILL');
    await this.#instance.exited;
  }

  /** Starts it again, on the same port with the same data. */
  async start(): Promise<void> {
    this.#instance = await this.#start();
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Stops it for good and removes its data. */
  async remove(): Promise<void> {
    await this.stop();
    await rm(this.#root, { recursive: true, force: true });
  }
}
