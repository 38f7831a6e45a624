// The database is lost with everything in it; a backup and the storage nodes are left.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeEach, expect, it, vi } from 'vitest';
import { useCluster } from './support/cluster.ts';
import { runCistern } from './support/command.ts';
import { filesOf, sql } from './support/files.ts';
import { emptyDatabase } from './support/postgres.ts';
import { holdersOf, overwrite, replicaOf } from './support/replicas.ts';
import { waitFor } from './support/wait.ts';

// Each test makes a cluster anew from its backup; on a busy machine that takes its time.
vi.setConfig({ testTimeout: 180_000 });

const cluster = useCluster({ trackers: 2, devices: 1 });
const { put, get, remove } = filesOf(cluster);
const directory = mkdtempSync(join(tmpdir(), 'cistern-restore-'));
afterAll(() => rmSync(directory, { recursive: true }));

const asAdmin = () => ({
  CISTERN_URL: cluster().trackers[0]?.url ?? '',
  CISTERN_TOKEN: cluster().adminToken,
});
const withKey = () => ({
  CISTERN_DATABASE_URL: cluster().database,
  CISTERN_CLUSTER_KEY: cluster().clusterKey,
});
const nodeFlags = () => cluster().nodes.flatMap(({ url }) => ['--node', url]);

/** The trackers are killed, and the database is dropped and made anew, empty. */
async function loseDatabase() {
  for (const tracker of cluster().trackers) await tracker.kill();
  await emptyDatabase(cluster().database);
}

async function startTrackers() {
  for (const tracker of cluster().trackers) await tracker.start();
  await cluster().ready();
}

async function restore(...more: string[]) {
  const ran = await runCistern(['restore', '--json', ...nodeFlags(), ...more], { env: withKey() });
  const events = ran.stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { ...ran, events, of: (kind: string) => events.filter(({ event }) => event === kind) };
}

const holders = (fid: number) => holdersOf(cluster(), fid);
/** Where the bytes of each replica stand. */
const replicas = async (fid: number) =>
  Promise.all((await holders(fid)).map((device) => replicaOf(cluster(), fid, device)));

/** Those of large files are too many for a volume. */
const body = (key: string) => `the bytes of ${key}`.padEnd(key.includes('large') ? 300_000 : 0);
const store = async (key: string) => expect((await put(key, body(key))).status).toBeLessThan(300);
const text = async (key: string) => (await get(key)).text();
const fidOf = async (key: string) =>
  Number(((await (await put(key, body(key))).json()) as { fid: number }).fid);

beforeEach(async () => {
  for (const key of ['old/kept.txt', 'old/deleted.txt', 'old/replaced.txt', 'old/moved.txt'])
    await store(key);
});

it('brings back names, bytes and settings from the newest backup on the devices, and what came since by its journal', async () => {
  const backup = await runCistern(['backup', '--json'], { env: asAdmin() });
  expect(backup.code, backup.stderr).toBe(0);
  await put('old/replaced.txt', 'a later version');
  await remove('old/deleted.txt');
  await store('new/directory/since.txt');
  const odd = 'new/tab\there "quoted" \\ ünï 💧.txt';
  await store(odd);
  await loseDatabase();
  const restored = await restore();
  expect(
    restored
      .of('recovered')
      .map(({ key }) => String(key))
      .sort(),
  ).toEqual(['new/directory/since.txt', odd, 'old/replaced.txt'].sort());
  expect(restored.of('lost')).toEqual([]);
  expect(restored.code, restored.stderr).toBe(0);
  await startTrackers();
  // The token of before is good again, since it was in the backup.
  expect(await text('old/kept.txt')).toBe(body('old/kept.txt'));
  expect(await text('old/replaced.txt')).toBe('a later version');
  expect(await text('new/directory/since.txt')).toBe(body('new/directory/since.txt'));
  expect(await text(odd)).toBe(body(odd));
  // What was deleted since is there again, as it was told; its bytes had not been reaped.
  expect(await text('old/deleted.txt')).toBe(body('old/deleted.txt'));
  const repaired = await runCistern(['repair', '--json'], { env: asAdmin() });
  expect(repaired.code, repaired.stdout).toBe(0);
});

it('never hands out a fid again that was used since the backup', async () => {
  await runCistern(['backup'], { env: asAdmin() });
  const before = await fidOf('since/highest.txt');
  await loseDatabase();
  expect((await restore()).code).toBe(0);
  await startTrackers();
  expect(await fidOf('since/next.txt')).toBeGreaterThan(before);
  expect(await text('since/highest.txt')).toBe(body('since/highest.txt'));
});

it('takes bytes for no loss that its key has: an upload was tried again', async () => {
  const key = 'tried/twice.txt';
  const size = body(key).length;
  const opened = await cluster().request('POST', '/v1/domains/demo/uploads', { body: { key, size } });
  const { fid, url } = (await opened.json()) as { fid: number; url: string };
  expect((await fetch(url, { method: 'PUT', body: body(key) })).status).toBeLessThan(300);
  await store(key);
  await runCistern(['backup'], { env: asAdmin() });
  await loseDatabase();
  const restored = await restore();
  expect(restored.of('not-recovered')).toEqual([]);
  expect(restored.code, restored.stderr).toBe(0);
  await startTrackers();
  expect(await text(key)).toBe(body(key));
  await waitFor(async () => (await holders(fid)).length === 0, { what: 'the second copy to go' });
});

it('says of each name that cannot be brought back why: no bytes, no record, or no good replica', async () => {
  const gone = await fidOf('old/gone-large.txt');
  await runCistern(['backup'], { env: asAdmin() });
  const corrupt = await fidOf('since/corrupt.txt');
  const nameless = await fidOf('since/nameless.txt');
  await loseDatabase();
  for (const { path } of await replicas(gone)) rmSync(path);
  for (const replica of await replicas(corrupt)) overwrite(replica, 'X'.repeat(replica.size));
  // A record that was lost with the last second before a power cut.
  for (const node of cluster().nodes) {
    await node.stop();
    for (const { path } of node.devices) rmSync(join(path, 'journal'), { recursive: true, force: true });
    await node.start();
  }
  const restored = await restore();
  expect(restored.code).toBe(1);
  expect(restored.of('lost')).toMatchObject([{ domain: 'demo', key: 'old/gone-large.txt', fid: gone }]);
  const fids = restored.of('not-recovered').map(({ fid }) => fid);
  expect(fids).toEqual(expect.arrayContaining([corrupt, nameless]));
  await startTrackers();
  expect((await get('old/gone-large.txt')).status).toBe(503);
  // What nobody can name is kept all the same: it may be the only copy there is.
  await waitFor(async () => (await holders(nameless)).length === 2, { what: 'the bytes to be kept' });
});

it('takes a backup in a file, and passes over one on the devices that is damaged', async () => {
  const file = join(directory, 'cistern.gz');
  expect((await runCistern(['backup', file], { env: asAdmin() })).code).toBe(0);
  expect(gunzipSync(await (await import('node:fs/promises')).readFile(file)).toString()).toContain(
    '"cistern":"backup"',
  );
  await store('since/file.txt');
  const damaged = await runCistern(['backup', '--json'], { env: asAdmin() });
  const { name } = JSON.parse(damaged.stdout) as { name: string };
  for (const { path } of cluster().nodes.flatMap((node) => node.devices)) {
    const held = join(path, 'backups');
    for (const one of readdirSync(held))
      if (one.startsWith(name)) writeFileSync(join(held, one), 'no backup at all');
  }
  await loseDatabase();
  const restored = await restore();
  // What the test before has spoilt is still told, so the exit code says nothing here.
  expect(restored.of('recovered')).toMatchObject([{ key: 'since/file.txt' }]);
  expect(JSON.stringify(restored.of('done'))).not.toContain(name);
  expect((await restore()).stderr).toContain('not empty');
  await loseDatabase();
  const fromFile = await restore('--file', file);
  expect(fromFile.of('done')[0]).toMatchObject({ backup: { source: file } });
  await startTrackers();
  expect(await text('since/file.txt')).toBe(body('since/file.txt'));
});

it('is made on a schedule by one tracker at a time, and only so many are kept', async () => {
  for (const tracker of cluster().trackers) await tracker.stop();
  const every = {
    CISTERN_BACKUP_EVERY_SECONDS: '0.5',
    CISTERN_BACKUP_KEEP: '3',
    CISTERN_BACKUP_DIRECTORY: directory,
  };
  for (const tracker of cluster().trackers) tracker.set(every);
  await startTrackers();
  const list = async () => {
    const answer = await cluster().request('GET', '/v1/backups', { token: cluster().adminToken });
    return ((await answer.json()) as { backups: { name: string; devices: number[] }[] }).backups;
  };
  const first = (await list())[0]?.name ?? '';
  await waitFor(async () => (await list()).filter(({ name }) => name > first).length >= 3, {
    what: 'three backups',
  });
  await waitFor(async () => (await list()).length === 3, { what: 'older ones to go' });
  expect((await list())[0]?.devices).toHaveLength(3);
  const onDisk = () => readdirSync(join(cluster().nodes[0]?.devices[0]?.path ?? '', 'backups'));
  await waitFor(() => onDisk().length <= 4, { what: 'older ones to go from the disks' });
  expect(readdirSync(directory).filter((name) => name.endsWith('.cistern.gz')).length).toBeGreaterThan(0);
  const [row] = await sql<{ overlapping: number }>(
    cluster(),
    'SELECT count(*)::int - count(DISTINCT at)::int AS overlapping FROM backups',
  );
  expect(row?.overlapping).toBe(0);
});
