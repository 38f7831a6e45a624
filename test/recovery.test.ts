// The power fails: every process, PostgreSQL included, is killed at one instant while clients write, and started again.
// (What the disks' own caches would lose is not shown by this: the processes die, the kernel lives.)
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { chaosCluster, runChaos } from './chaos/run.ts';
import { type Cluster, startCluster } from './support/cluster.ts';
import { createDatabaseOn, EmbeddedServer } from './support/postgres.ts';

const SECONDS = 15;

let server: EmbeddedServer;
let cluster: Cluster;
beforeAll(async () => {
  server = await EmbeddedServer.create({ max_connections: '100' });
  const { url } = await createDatabaseOn(server.url);
  cluster = await startCluster({ ...chaosCluster, devices: 1, database: url });
});
afterEach(({ task }) => {
  if (task.result?.state === 'fail') process.stderr.write(`${cluster.logs()}\n`);
});
afterAll(async () => {
  await cluster?.stop();
  await server?.remove();
});

test('after everything was killed, all that was acknowledged is there, and nothing is left over', async () => {
  const seed = process.env.CHAOS_SEED ?? String(Date.now());
  const { violations, counts } = await runChaos(cluster, {
    seed,
    seconds: SECONDS,
    server,
    everything: true,
  });
  process.stderr.write(`recovery, seed ${seed}: ${JSON.stringify(counts)}\n`);
  expect(violations, `repeat with CHAOS_SEED=${seed}`).toEqual([]);
  expect(counts['everything killed']).toBeGreaterThan(0);
  expect(counts.lost).toBeGreaterThan(0);
  expect(counts['replicas verified']).toBeGreaterThan(0);
}, 180_000);
