// Backup and restore are killed at each of their steps. A backup is there whole or not at all, and what is there is
// listed and removed in its turn; a restore that was cut short loses nothing, and can be begun again.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test, vi } from 'vitest';
import { unfinishedBlobs } from '../../storage-node/testing.ts';
import { useCluster } from '../support/cluster.ts';
import { runCistern } from '../support/command.ts';
import { FailPoints } from '../support/fail-points.ts';
import { filesOf } from '../support/files.ts';
import { emptyDatabase } from '../support/postgres.ts';

vi.setConfig({ testTimeout: 180_000 });

const points = new FailPoints();
const cluster = useCluster(
  points.into({ trackers: 2, devices: 1, env: { tracker: { CISTERN_BACKUP_KEEP: '2' }, node: {} } }),
);
afterAll(() => points.remove());
const { put, get } = filesOf(cluster);

interface Listed {
  name: string;
  sha256: string;
  devices: number[];
}

const admin = (method: string, path: string, tracker = 0) =>
  cluster().request(method, path, { token: cluster().adminToken, tracker });
const list = async () =>
  ((await (await admin('GET', '/v1/backups')).json()) as { backups: Listed[] }).backups;
const onDisks = () =>
  cluster().nodes.flatMap(({ devices }) =>
    devices.flatMap(({ id, path }) => readdirSync(join(path, 'backups')).map((name) => `${id} ${name}`)),
  );

test.each(['backup-begun', 'backup-written', 'backup-linked', 'backup-stored', 'backup-recorded'])(
  'kill at %s: a backup is whole or not there, and is removed in its turn',
  async (point) => {
    await admin('POST', '/v1/backups');
    points.arm(point, 'kill');
    const pending = admin('POST', '/v1/backups').catch(() => undefined);
    const part = await points.struck(cluster(), point);
    await part.kill();
    await pending;
    await part.restart();
    points.reset();
    await cluster().ready();
    for (const { devices } of cluster().nodes) {
      for (const { path } of devices) expect(unfinishedBlobs(path)).toEqual([]);
    }
    // The next two take the place of all before them, wherever those were left.
    for (const tracker of [0, 1]) expect((await admin('POST', '/v1/backups', tracker)).status).toBe(201);
    const backups = await list();
    expect(backups).toHaveLength(2);
    const recorded = backups.flatMap(({ name, sha256, devices }) =>
      devices.map((id) => `${id} ${name}~${sha256}`),
    );
    expect(onDisks().sort()).toEqual(recorded.sort());
    for (const { name } of backups)
      expect((await (await admin('GET', `/v1/backups/${name}`)).bytes()).length).toBeGreaterThan(0);
  },
);

test.each(['restore-loaded', 'restore-reconciled'])(
  'kill at %s: nothing is lost if the trackers are started on it, and it can be begun again',
  async (point) => {
    const old = `old ${point}`;
    const since = `since ${point}`;
    await put(old, old);
    await admin('POST', '/v1/backups');
    const { fid } = (await (await put(since, since)).json()) as { fid: number };
    for (const tracker of cluster().trackers) await tracker.kill();
    await emptyDatabase(cluster().database);
    const nodes = cluster().nodes.flatMap(({ url }) => ['--node', url]);
    const env = { CISTERN_DATABASE_URL: cluster().database, CISTERN_CLUSTER_KEY: cluster().clusterKey };
    points.arm(point, 'kill');
    const cut = await runCistern(['restore', ...nodes], {
      env: { ...env, CISTERN_FAIL_POINTS: points.armed, NODE_ENV: 'test' },
    });
    expect(cut.code).toBe(null);
    points.reset();
    for (const tracker of cluster().trackers) await tracker.start();
    await cluster().ready();
    expect(await (await get(old)).text()).toBe(old);
    const { fid: next } = (await (await put('next', 'next')).json()) as { fid: number };
    expect(next).toBeGreaterThan(fid);
    // What that database does not know is kept, so that another attempt finds it.
    for (const tracker of cluster().trackers) await tracker.kill();
    await emptyDatabase(cluster().database);
    const whole = await runCistern(['restore', ...nodes], { env });
    expect(whole.code, whole.stdout + whole.stderr).toBe(0);
    for (const tracker of cluster().trackers) await tracker.start();
    await cluster().ready();
    expect(await (await get(since)).text()).toBe(since);
    expect(await (await get(old)).text()).toBe(old);
  },
);
