// Where the tests' PostgreSQL comes from: the one that CISTERN_TEST_DATABASE_URL names, else testcontainers where a
// Docker engine answers and the image can be had, else the embedded one.
import { EmbeddedServer } from './embedded-postgres.ts';

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
