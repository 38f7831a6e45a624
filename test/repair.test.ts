// Repair on a real cluster, by the operator's own command: a host is lost for good, only one is left, replicas rot or
// vanish behind a node's back, and what was deleted goes from the disks.
import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import pLimit from 'p-limit';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { age, strays, verifyReplicas } from './chaos/disks.ts';
import { brokenInvariants } from './chaos/invariants.ts';
import { Random } from './chaos/random.ts';
import { type Cluster, useCluster } from './support/cluster.ts';
import { runCistern } from './support/command.ts';
import { filesOf } from './support/files.ts';
import { flipBit, onDisks, replicaOf } from './support/replicas.ts';
import { waitFor } from './support/wait.ts';

const FILES = 1_000;
const MiB = 1024 * 1024;
const random = new Random('repair');
const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

function useDatabase(cluster: () => Cluster): () => pg.Pool {
  let db: pg.Pool;
  beforeAll(() => {
    db = new pg.Pool({ connectionString: cluster().database });
  });
  afterAll(() => db.end());
  return () => db;
}

/** Runs the command as the operator. */
function operator(cluster: () => Cluster) {
  return (...args: string[]) => {
    const env = { CISTERN_URL: cluster().trackers[0]?.url ?? '', CISTERN_TOKEN: cluster().adminToken };
    return runCistern(args, { env });
  };
}

interface Counted {
  fid: number;
  device: number;
}

/** The good replicas of a file, as the database counts them. */
async function replicasOf(db: pg.Pool, key: string): Promise<Counted[]> {
  const { rows } = await db.query<Counted>(
    `SELECT l.fid::float8 AS fid, l.device_id AS device FROM names n JOIN locations l ON l.fid = n.fid
      WHERE n.name = $1 AND l.state = 'good' ORDER BY l.device_id`,
    [key],
  );
  return rows;
}

describe('a host is lost for good', () => {
  const cluster = useCluster({ devices: 2 });
  const db = useDatabase(cluster);
  const cistern = operator(cluster);
  const { put, get } = filesOf(cluster);
  const files = new Map<string, string>();

  test('every one of 1,000 files gets its copies on the hosts that are left, and repair says so', async () => {
    const limit = pLimit(16);
    const upload = async (key: string) => {
      const bytes = random.bytes(random.between(0, 6_000));
      expect((await put(key, bytes)).status).toBe(201);
      files.set(key, digest(bytes));
    };
    await Promise.all(Array.from({ length: FILES }, (_, i) => limit(upload, `${i % 10}/file ${i}`)));
    const lost = cluster().nodes[0];
    const ids = lost?.devices.map(({ id }) => id) ?? [];
    const held = await db().query('SELECT FROM locations WHERE device_id = ANY ($1)', [ids]);
    expect(held.rowCount).toBeGreaterThan(FILES / 3);
    await lost?.kill();
    expect((await cistern('device', 'dead', ...ids.map(String), '--yes')).code).toBe(0);
    const repair = await cistern('repair', '--json');
    expect(repair.stderr).toBe('');
    expect(repair.code).toBe(0);

    const { rows } = await db().query<{ device: number; copies: number }>(
      `SELECT l.device_id AS device FROM locations l WHERE l.state = 'good' AND l.device_id = ANY ($1)`,
      [ids],
    );
    expect(rows).toEqual([]);
    expect(await brokenInvariants(db())).toEqual([]);
    expect(await verifyReplicas(cluster(), db())).toEqual({ verified: 2 * FILES, wrong: [] });
    const read = async (key: string, sha256: string) => {
      const answer = await get(key);
      expect([key, digest(Buffer.from(await answer.arrayBuffer()))]).toEqual([key, sha256]);
    };
    await Promise.all([...files].map(([key, sha256]) => limit(read, key, sha256)));
    expect((await cistern('repair')).stdout).toContain('all have their copies');
  }, 90_000);

  test('with one host left, repair ends with 1 and lists every file', async () => {
    const second = cluster().nodes[1];
    await second?.kill();
    const ids = second?.devices.map(({ id }) => String(id)) ?? [];
    expect((await cistern('device', 'dead', ...ids, '--yes')).code).toBe(0);
    const repair = await cistern('repair', '--json', '--patience', '2');
    expect(repair.code).toBe(1);
    const lines = repair.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { event: string; key?: string; copies?: number; why?: string });
    const missing = lines.filter(({ event }) => event === 'missing');
    expect(new Set(missing.map(({ key }) => key))).toEqual(new Set(files.keys()));
    expect(missing.every(({ copies }) => copies === 1)).toBe(true);
    expect(missing.every(({ why }) => /host|turn/.test(why ?? ''))).toBe(true);
    expect(lines.at(-1)).toEqual({ event: 'done', healthy: false, missing: FILES });
    const [key, sha256] = [...files][0] as [string, string];
    expect(digest(Buffer.from(await (await get(key)).arrayBuffer()))).toBe(sha256);
    expect((await put('new', 'not with one host')).status).toBe(503);
  }, 90_000);
});

describe('replicas that go bad, and what is deleted', () => {
  const cluster = useCluster({
    devices: 1,
    env: {
      tracker: {
        CISTERN_REAP_AFTER_SECONDS: '0.2',
        CISTERN_SWEEP_AFTER_SECONDS: '1',
        CISTERN_SWEEP_EVERY_SECONDS: '1',
      },
      node: { CISTERN_CACHE_BYTES: '0' },
    },
  });
  const db = useDatabase(cluster);
  const cistern = operator(cluster);
  const { put, get, remove } = filesOf(cluster);
  const replicas = (key: string) => replicasOf(db(), key);
  const admin = (method: string, path: string, body: object) =>
    cluster().request(method, path, { token: cluster().adminToken, body });

  /** The bytes of a file as a client gets them; undefined if it was told that they cannot be had, or was cut off. */
  async function fetched(key: string, via: 'tracker' | 'redirect'): Promise<Buffer | undefined> {
    const answer = await get(key, via === 'redirect' ? { query: '?via=redirect' } : {});
    const location = answer.headers.get('location');
    const last = location === null ? answer : await fetch(location);
    if (!last.ok) return undefined;
    return last.arrayBuffer().then(
      (bytes) => Buffer.from(bytes),
      () => undefined,
    );
  }

  test.each([
    ['small', 50_000],
    ['large', 5 * MiB],
  ])('one flipped bit is never served, and is repaired (%s file)', async (key, size) => {
    const bytes = random.bytes(size);
    await put(key, bytes);
    const [spoilt] = (await replicas(key)) as [Counted];
    flipBit(await replicaOf(cluster(), spoilt.fid, spoilt.device), size - 1);
    for (const via of ['redirect', 'tracker'] as const) {
      const got = await Promise.all(Array.from({ length: 8 }, () => fetched(key, via)));
      expect(got.filter((one) => one !== undefined && !one.equals(bytes))).toEqual([]);
    }
    await waitFor(async () => !(await replicas(key)).some(({ device }) => device === spoilt.device), {
      what: 'the bad replica not to count any more',
    });
    const repair = await cistern('repair');
    expect(repair.stderr).toBe('');
    expect(repair.code).toBe(0);
    expect((await replicas(key)).map(({ device }) => device)).not.toContain(spoilt.device);
    expect((await verifyReplicas(cluster(), db())).wrong).toEqual([]);
    for (const via of ['redirect', 'tracker'] as const) {
      expect((await fetched(key, via))?.equals(bytes)).toBe(true);
    }
  });

  test('a replica that vanishes with all of its volume, behind the back of its node, is replaced', async () => {
    await put('vanished', 'still there');
    const [gone] = (await replicas('vanished')) as [Counted];
    rmSync((await replicaOf(cluster(), gone.fid, gone.device)).path);
    await waitFor(
      async () => {
        expect(await (await get('vanished')).text()).toBe('still there');
        return (await replicas('vanished')).every(({ device }) => device !== gone.device);
      },
      { what: 'the loss to be noticed' },
    );
    // What else was in that volume nobody has asked for yet.
    expect((await cistern('repair', '--verify')).code).toBe(0);
    expect((await replicas('vanished')).length).toBe(2);
    expect((await verifyReplicas(cluster(), db())).wrong).toEqual([]);
  });

  test('what is deleted, replaced, or has had its time in the trash goes from the disks, and nothing else', async () => {
    await put('kept', 'kept');
    await put('copied', 'one blob, two names');
    const copy = await cluster().request('POST', '/v1/domains/demo/copy', {
      body: { from: 'copied', to: 'copy' },
    });
    expect(copy.status).toBe(201);
    await put('trashed', 'waits in the trash');
    await remove('trashed');
    await admin('PUT', '/v1/domains/demo/classes/fleeting', { trash: false, prefixes: ['fleeting/'] });
    const deleted = Array.from({ length: 40 }, (_, i) => `fleeting/${i}`);
    for (const key of deleted) expect((await put(key, `deleted soon: ${key}`)).status).toBe(201);
    for (const key of deleted) expect((await put(key, `replaced: ${key}`)).status).toBe(200);
    for (const key of deleted) expect((await remove(key)).status).toBe(204);
    await remove('copied');

    const count = async () => {
      await age(db());
      return (await strays(cluster(), db())).length;
    };
    const versions = async () => {
      const { rows } = await db().query(
        `SELECT count(*)::int AS files FROM blobs WHERE state = 'live' AND fid IN
          (SELECT fid FROM names UNION SELECT fid FROM trash)`,
      );
      return rows[0].files as number;
    };
    const clean = async () =>
      (await count()) === 0 && (await onDisks(cluster())).replicas.size === 2 * (await versions());
    await waitFor(clean, { what: 'the replicas of what was deleted to go', timeout: 30_000, every: 250 });
    const inTrash = await db().query(`SELECT FROM trash WHERE key = 'trashed'`);
    expect(inTrash.rowCount).toBe(1);
    expect(await (await get('copy')).text()).toBe('one blob, two names');

    // Versions whose days in the trash are over are given up as well.
    const before = await versions();
    await db().query(`UPDATE trash SET at = at - interval '31 days'`);
    await cluster().trackers[0]?.restart();
    await waitFor(async () => (await db().query('SELECT FROM trash')).rowCount === 0, {
      what: 'the trash to be emptied',
    });
    await waitFor(async () => (await clean()) && (await versions()) < before, {
      what: 'the replicas of the expired versions to go',
      timeout: 30_000,
      every: 250,
    });
    expect(await (await get('kept')).text()).toBe('kept');
    expect(await brokenInvariants(db())).toEqual([]);

    // Without days in the trash nothing goes there.
    expect((await admin('PATCH', '/v1/domains/demo', { trashDays: 0 })).status).toBe(200);
    await remove('kept');
    expect((await db().query('SELECT FROM trash')).rowCount).toBe(0);
    await waitFor(clean, { what: 'the replicas of the last one to go', timeout: 30_000, every: 250 });
  }, 120_000);
});
