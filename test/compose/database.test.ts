// The PostgreSQL of the other tests, as they have it where an engine answers: a container of testcontainers'.
import { beforeEach, expect, it, onTestFinished, vi } from 'vitest';
import { readConfig } from '../../services/config.ts';
import { trackerSettings } from '../../tracker/config.ts';
import { createTrackerServer } from '../../tracker/server.ts';
import { createTracker } from '../../tracker/tracker.ts';
import { needs } from '../support/needs.ts';
import { createDatabaseOn } from '../support/postgres.ts';
import { startSharedPostgres } from '../support/shared-postgres.ts';
import { docker, lacksEngine } from './engine.ts';

beforeEach((context) => needs(context, lacksEngine()));

it('is a container, whose databases a tracker can use, and is gone afterwards', async () => {
  // Its helper image cannot be had where no image can be pulled.
  vi.stubEnv('TESTCONTAINERS_RYUK_DISABLED', 'true');
  const postgres = await startSharedPostgres();
  const containers = () => docker('ps', '--filter', 'ancestor=postgres:18', '--format', '{{.Ports}}');
  const { port } = new URL(postgres.url);
  onTestFinished(async () => {
    await postgres.stop();
    expect(await containers()).not.toContain(`:${port}->`);
  });
  expect(await containers()).toContain(`:${port}->5432/tcp`);
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
