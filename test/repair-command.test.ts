// `cistern repair` as an operator uses it: which files it is about, what a dry run does (nothing), reading copies again,
// several at once, and going on after it or a tracker was killed.
import type { ChildProcess } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import pLimit from 'p-limit';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { replicaPath, verifyReplicas } from './chaos/disks.ts';
import { type Cluster, useCluster } from './support/cluster.ts';
import { runCistern } from './support/command.ts';
import { filesOf } from './support/files.ts';
import { waitFor } from './support/wait.ts';

interface Line {
  event: string;
  key?: string;
  fid?: number;
  device?: number;
  what?: string;
  scanned?: number;
  queued?: number;
  verified?: number;
  healthy?: boolean;
  bad?: number;
}

function operator(cluster: () => Cluster) {
  return async (args: string[], tracker = 0, started?: (child: ChildProcess) => void) => {
    const env = { CISTERN_URL: cluster().trackers[tracker]?.url ?? '', CISTERN_TOKEN: cluster().adminToken };
    const ran = await runCistern(['repair', '--json', ...args], { env, ...(started && { started }) });
    const lines = ran.stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Line);
    return { ...ran, lines, of: (event: string) => lines.filter((line) => line.event === event) };
  };
}

function useDatabase(cluster: () => Cluster): () => pg.Pool {
  let db: pg.Pool;
  beforeAll(() => {
    db = new pg.Pool({ connectionString: cluster().database });
  });
  afterAll(() => db.end());
  return () => db;
}

describe('which files are meant', () => {
  // Each replica is a file: one is removed without others.
  const cluster = useCluster({ devices: 1, env: { node: { CISTERN_VOLUME_BLOB_BYTES: '0' } } });
  const db = useDatabase(cluster);
  const repair = operator(cluster);
  const { put } = filesOf(cluster);
  const keys = ['a/one', 'a/two', 'b/one', 'b/two', 'thumbs/one'];
  const fids = new Map<string, number>();
  const queued = async () => Number((await db().query('SELECT count(*) AS n FROM repair')).rows[0].n);

  beforeAll(async () => {
    const body = { prefixes: ['thumbs/'] };
    await cluster().request('PUT', '/v1/domains/demo/classes/thumb', { token: cluster().adminToken, body });
    for (const key of keys) {
      const answer = await put(key, `the bytes of ${key}`);
      fids.set(key, ((await answer.json()) as { fid: number }).fid);
    }
  });

  /** Forgets one location of each file, and removes its bytes. */
  async function lose(...lost: string[]): Promise<void> {
    for (const key of lost) {
      const fid = fids.get(key) as number;
      const { rows } = await db().query('SELECT min(device_id)::int AS id FROM locations WHERE fid = $1', [
        fid,
      ]);
      await db().query('DELETE FROM locations WHERE fid = $1 AND device_id = $2', [fid, rows[0].id]);
      rmSync(replicaPath(cluster(), fid, rows[0].id));
    }
  }

  test('a dry run names what lacks copies and queues nothing', async () => {
    await lose(...keys);
    const { code, of, stderr } = await repair(['--dry-run']);
    expect(code).toBe(1);
    expect(
      of('missing')
        .map(({ key }) => key)
        .sort(),
    ).toEqual(keys);
    expect(stderr).toContain("run 'cistern repair'");
    expect(await queued()).toBe(0);
  });

  test.each([
    [
      ['--domain', 'demo', '--prefix', 'a/'],
      ['a/one', 'a/two'],
    ],
    [['--class', 'thumb'], ['thumbs/one']],
    [['--domain', 'demo', '--class', 'default', '--prefix', 'b/t'], ['b/two']],
  ])('%j', async (args, expected) => {
    const { of } = await repair(['--dry-run', ...args]);
    expect(of('missing').map(({ key }) => key)).toEqual(expected);
    expect(of('scan')).toMatchObject([{ scanned: expected.length, queued: expected.length }]);
  });

  test('only what is meant is mended', async () => {
    expect((await repair(['--domain', 'demo', '--prefix', 'a/'])).code).toBe(0);
    const left = (await repair(['--dry-run'])).of('missing').map(({ key }) => key);
    expect(left).toEqual(['b/one', 'b/two', 'thumbs/one']);
    const { rows } = await db().query('SELECT device_id AS id FROM locations WHERE fid = $1', [
      fids.get('b/one'),
    ]);
    const there = (await repair(['--dry-run', '--device', String(rows[0].id)])).of('missing');
    expect(there.map(({ key }) => key)).toContain('b/one');
    expect((await repair(['--device', String(rows[0].id)])).code).toBe(0);
    expect((await repair([])).code).toBe(0);
    expect((await repair(['--dry-run'])).code).toBe(0);
  });

  test('what does not exist, or says nothing, is not called healthy', async () => {
    for (const args of [
      ['--prefix', 'a/'],
      ['--device', '99'],
      ['--domain', 'nowhere'],
      ['--limit', 'fast'],
    ]) {
      expect((await repair(args)).code, args.join(' ')).toBe(2);
    }
  });

  test('--verify reads the copies again: a dry run only names what is bad, a repair mends it', async () => {
    const fid = fids.get('a/one') as number;
    const { rows } = await db().query(
      `SELECT device_id AS id FROM locations WHERE fid = $1 AND state = 'good'`,
      [fid],
    );
    const device = rows[0].id as number;
    const path = replicaPath(cluster(), fid, device);
    writeFileSync(path, readFileSync(path, 'utf8').toUpperCase());
    const dry = await repair(['--verify', '--dry-run', '--domain', 'demo', '--prefix', 'a/']);
    expect(dry.code).toBe(1);
    expect(dry.of('bad')).toMatchObject([{ fid, device, what: 'corrupt', key: 'a/one' }]);
    expect(dry.of('verified')).toMatchObject([{ verified: 4, bad: 1 }]);
    expect(dry.of('done')).toMatchObject([{ healthy: false }]);
    const other = rows[1].id as number;
    expect((await repair(['--verify', '--device', String(other)])).of('bad')).toEqual([]);
    const real = await repair(['--verify']);
    expect(real.code).toBe(0);
    expect(real.of('bad')).toMatchObject([{ fid, device }]);
    expect((await verifyReplicas(cluster(), db())).wrong).toEqual([]);
    expect((await repair(['--verify'])).of('verified')).toMatchObject([{ verified: 10, bad: 0 }]);
  });

  test('--verify could not look, if a device is away', async () => {
    const lost = cluster().nodes[2];
    await lost?.kill();
    const run = await waitFor(
      async () => {
        const tried = await repair(['--verify', '--dry-run', '--patience', '2']);
        return tried.stderr.includes('not all copies could be read') && tried;
      },
      { what: 'the host to be missed', timeout: 60_000 },
    );
    expect(run.code).toBe(2);
    await lost?.start();
    await cluster().ready();
  });
});

describe('a lost host, mended under a limit while the cluster is used', () => {
  const FILES = 400;
  const SIZE = 8_192;
  const LIMIT = 400_000;
  const cluster = useCluster({ devices: 1, trackers: 2 });
  const db = useDatabase(cluster);
  const repair = operator(cluster);
  const { put, get } = filesOf(cluster);
  let lost = 0;

  const left = async () =>
    Number(
      (
        await db().query(`SELECT count(*) AS n FROM blobs b WHERE state = 'live' AND (SELECT count(*) FROM locations l
          JOIN devices d ON d.id = l.device_id WHERE l.fid = b.fid AND l.state = 'good' AND d.state <> 'dead') < 2`)
      ).rows[0].n,
    );

  test('goes on though the command and a tracker are killed, keeps to the limit, and serves meanwhile', async () => {
    const limit = pLimit(16);
    await Promise.all(
      Array.from({ length: FILES }, (_, i) =>
        limit(async () =>
          expect((await put(`f/${i}`, `${i} `.repeat(SIZE).slice(0, SIZE))).status).toBe(201),
        ),
      ),
    );
    await cluster().nodes[0]?.kill();
    expect((await repair(['--dry-run', '--limit', String(LIMIT)])).lines[0]).toMatchObject({
      event: 'limit',
    });
    await waitFor(
      async () => {
        const body = { state: 'dead' };
        const answer = await cluster().request('PATCH', '/v1/devices/1', {
          token: cluster().adminToken,
          body,
        });
        return answer.ok;
      },
      { what: 'device 1 to be dead' },
    );
    const started = Date.now();
    await waitFor(
      async () => {
        lost = await left();
        return lost > FILES / 3;
      },
      { what: 'the loss to be seen' },
    );

    // The command dies; the trackers go on. One of them dies; the other goes on.
    await repair([], 0, (child) => setTimeout(() => child.kill('SIGKILL'), 1_500));
    await cluster().trackers[1]?.kill();
    // Two at once share what is left, and reads and writes succeed meanwhile.
    let running = true;
    const use = async () => {
      for (let i = 0; running; i++) {
        expect((await get(`f/${i % FILES}`)).status).toBe(200);
        const answer = await put(`new/${i}`, 'written meanwhile');
        expect(answer.status).toBe(201);
      }
    };
    const using = use();
    const both = await Promise.all([repair([]), repair([])]).finally(() => {
      running = false;
    });
    await using;
    expect(both.map(({ code, stderr }) => [code, stderr])).toEqual([
      [0, ''],
      [0, ''],
    ]);
    const seconds = (Date.now() - started) / 1000;
    expect(await left()).toBe(0);
    // A tracker may begin four batches, of a second's share each, before the first is paid for; two trackers began.
    const allowed = LIMIT * seconds + 2 * 4 * (LIMIT + SIZE);
    expect(lost * SIZE).toBeLessThan(allowed);
    expect((await verifyReplicas(cluster(), db())).wrong).toEqual([]);
  }, 300_000);

  test('is copied in batches, and no blob twice', async () => {
    const { rows } = await db().query(`SELECT count(*)::int AS n FROM locations WHERE state = 'removing'`);
    expect(rows).toEqual([{ n: 0 }]);
    await cluster().trackers[1]?.start();
    expect((await repair(['--dry-run', '--limit', 'default'])).lines[0]).toEqual({
      event: 'limit',
      bytesPerSecond: null,
    });
    const copies = async () => {
      const pages = await Promise.all(
        cluster()
          .nodes.slice(1)
          .map(async ({ url }) => (await fetch(`${url}/metrics`)).text()),
      );
      const of = (route: string) =>
        pages
          .flatMap((page) => page.split('\n'))
          .filter(
            (line) => line.startsWith('cistern_http_request_seconds_count') && line.includes(`"${route}"`),
          )
          .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
      return { batches: of('/devices/:dev/copies'), singles: of('/devices/:dev/blobs/:fid/copy') };
    };
    const { batches, singles } = await copies();
    expect(batches).toBeGreaterThan(0);
    expect(batches + singles).toBeLessThan(lost / 4);
  });
});
