// The PostgreSQL of the other tests, as they have it where an engine answers: a container of testcontainers'.
import { getContainerRuntimeClient } from 'testcontainers';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { readConfig } from '../../services/config.ts';
import { trackerSettings } from '../../tracker/config.ts';
import { createTrackerServer } from '../../tracker/server.ts';
import { createTracker } from '../../tracker/tracker.ts';
import { needs } from '../support/needs.ts';
import { createDatabaseOn } from '../support/postgres.ts';
import { startSharedPostgres } from '../support/shared-postgres.ts';
import { lacksEngine } from './engine.ts';

const lack = await lacksEngine();

beforeEach((context) => needs(context, lack));

it('is a container, whose databases a tracker can use, and is gone afterwards', async () => {
  const postgres = await startSharedPostgres();
  const { port } = new URL(postgres.url);
  onTestFinished(async () => {
    await postgres.stop();
    expect(await published()).not.toContain(`${port}->5432`);
  });
  expect(await published()).toContain(`${port}->5432`);
  const { url } = await createDatabaseOn(postgres.url);
  const tracker = await createTracker(
    readConfig(trackerSettings, {
      CISTERN_LOG_LEVEL: 'fatal',
      CISTERN_CLUSTER_KEY: 'the cluster key of a test with a container',
      CISTERN_ADMIN_TOKEN: 'the-admin-token-of-a-test',
      CISTERN_DATABASE_URL: url,
    }),
  );
  const server = await createTrackerServer(tracker);
  const made = await server.inject({
    method: 'POST',
    url: '/v1/domains',
    headers: { authorization: 'Bearer the-admin-token-of-a-test' },
    payload: { name: 'contained' },
  });
  expect(made.statusCode).toBe(201);
  await server.close();
  await tracker.stop();
});

/** The ports of all containers that run PostgreSQL, on this machine and in the container. */
async function published(): Promise<string[]> {
  const { container } = await getContainerRuntimeClient();
  const ports = (await container.list()).flatMap(({ Image, Ports }) =>
    Image === 'postgres:18' ? Ports : [],
  );
  return ports.map(({ PublicPort, PrivatePort }) => `${PublicPort}->${PrivatePort}`);
}
