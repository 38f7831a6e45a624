// `cistern fsck` on a real cluster: whatever is wrong on the disks or in the rows is found and named, and nothing else;
// and a cluster at work, in which all is well, gives no finding.
import { existsSync, mkdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { replicaPath } from './chaos/disks.ts';
import { type Cluster, useCluster } from './support/cluster.ts';
import { runCistern } from './support/command.ts';
import { filesOf } from './support/files.ts';
import { overwrite, readReplica, replicaOf } from './support/replicas.ts';
import { waitFor } from './support/wait.ts';

interface Line {
  event: string;
  kind: string;
  fid: number | null;
  device: number | null;
  domain: string | null;
  key: string | null;
  next: string;
}

interface Done {
  event: 'done';
  clean: boolean;
  findings: Record<string, number>;
  compared: { replicas: number; files: number; directories: number; bytes: number };
  notLooked: { device: number; host: string; why: string }[];
}

/** A blob of so many bytes is too large for a volume: it can be removed, or get another size, by itself. */
const IN_A_FILE = 300_000;
const HOUR_AGO = new Date(Date.now() - 3_600_000);
const makeOld = (path: string) => utimesSync(path, HOUR_AGO, HOUR_AGO);

/** Runs fsck as the operator, and takes its lines apart. */
async function fsck(cluster: Cluster, ...args: string[]) {
  const env = { CISTERN_URL: cluster.trackers[0]?.url ?? '', CISTERN_TOKEN: cluster.adminToken };
  const { code, stdout, stderr } = await runCistern(['fsck', '--json', '--patience', '3', ...args], { env });
  const lines = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line | Done);
  const done = lines.find((line) => line.event === 'done') as Done;
  return { code, stderr, done, findings: lines.filter((line): line is Line => line.event === 'finding') };
}

function useDatabase(cluster: () => Cluster): () => pg.Pool {
  let db: pg.Pool;
  beforeAll(() => {
    db = new pg.Pool({ connectionString: cluster().database });
  });
  afterAll(() => db.end());
  return () => db;
}

describe('what is wrong', () => {
  // Nothing is mended here: what was planted stays.
  const cluster = useCluster({
    devices: 2,
    env: { tracker: { CISTERN_REPAIR_WORKERS: '0', CISTERN_SWEEP_AFTER_SECONDS: '600' } },
  });
  const db = useDatabase(cluster);
  const { put, remove } = filesOf(cluster);
  const expected: string[] = [];
  const verified: string[] = [];

  const text = ({ kind, fid, device, domain, key }: Line) => `${kind} ${fid} ${device} ${domain}/${key}`;
  const path = (fid: number, device: number) => replicaPath(cluster(), fid, device);
  const hostOf = (device: number) => Math.ceil(device / 2);

  async function store(key: string, size = 0): Promise<{ fid: number; devices: number[] }> {
    const answer = await put(key, `the bytes of ${key}`.padEnd(size));
    expect(answer.status).toBe(201);
    const { fid } = (await answer.json()) as { fid: number };
    const { rows } = await db().query('SELECT device_id FROM locations WHERE fid = $1 ORDER BY device_id', [
      fid,
    ]);
    return { fid, devices: rows.map((row) => row.device_id) };
  }

  /** A device on a host that has no copy. */
  const third = (devices: number[]) =>
    [1, 3, 5].find((device) => !devices.some((one) => hostOf(one) === hostOf(device))) as number;

  /** Puts a file where a blob may have one: a device takes it for its own, though it keeps small ones in volumes. */
  function plant(fid: number, device: number, bytes: string): void {
    mkdirSync(dirname(path(fid, device)), { recursive: true });
    writeFileSync(path(fid, device), bytes);
    makeOld(path(fid, device));
  }

  beforeAll(async () => {
    // Nor by the first sweep, which comes half a minute after the start.
    await db().query("UPDATE devices SET swept = 'infinity'");
    const admin = (method: string, url: string, body: object) =>
      cluster().request(method, url, { token: cluster().adminToken, body });
    await admin('PUT', '/v1/domains/demo/classes/fleeting', { trash: false, prefixes: ['fleeting/'] });
    await store('sound');

    const missing = await store('missing', IN_A_FILE);
    rmSync(path(missing.fid, missing.devices[0] as number));
    expected.push(`missing ${missing.fid} ${missing.devices[0]} demo/missing`);

    const size = await store('dir/size', IN_A_FILE);
    writeFileSync(path(size.fid, size.devices[1] as number), 'short');
    expected.push(`size ${size.fid} ${size.devices[1]} demo/dir/size`);

    const digest = await store('digest');
    const spoilt = await replicaOf(cluster(), digest.fid, digest.devices[0] as number);
    overwrite(spoilt, readReplica(spoilt).toString().toUpperCase());
    verified.push(`digest ${digest.fid} ${digest.devices[0]} demo/digest`);

    const extra = await store('uncounted');
    plant(extra.fid, third(extra.devices), 'the bytes of uncounted');
    expected.push(`uncounted ${extra.fid} ${third(extra.devices)} demo/uncounted`);

    const { rows } = await db().query('SELECT next_fid FROM cluster');
    const unknown = Number(rows[0].next_fid) + 1_000_000;
    for (const fid of [unknown, unknown + 1, unknown + 2]) plant(fid, 4, 'never committed');
    utimesSync(path(unknown + 2, 4), new Date(), new Date());
    await db().query('UPDATE cluster SET sweep_from = $1', [unknown + 1]);
    expected.push(`unknown ${unknown} 4 null/null`, `unknown ${unknown + 1} 4 null/null`);

    const few = await store('copies', IN_A_FILE);
    await db().query('DELETE FROM locations WHERE fid = $1 AND device_id = $2', [few.fid, few.devices[0]]);
    rmSync(path(few.fid, few.devices[0] as number));
    expected.push(`copies ${few.fid} null demo/copies`);

    const twice = await store('misplaced');
    const [first = 0] = twice.devices;
    const sibling = first % 2 === 0 ? first - 1 : first + 1;
    plant(twice.fid, sibling, 'the bytes of misplaced');
    await db().query('INSERT INTO locations (fid, device_id) VALUES ($1, $2)', [twice.fid, sibling]);
    expected.push(`misplaced ${twice.fid} null demo/misplaced`);

    const many = await store('surplus');
    plant(many.fid, third(many.devices), 'the bytes of surplus');
    await db().query('INSERT INTO locations (fid, device_id) VALUES ($1, $2)', [
      many.fid,
      third(many.devices),
    ]);
    expected.push(`surplus ${many.fid} null demo/surplus`);

    const bad = await store('bad');
    await db().query(`INSERT INTO locations (fid, device_id, state) VALUES ($1, $2, 'bad')`, [
      bad.fid,
      third(bad.devices),
    ]);
    expected.push(`bad ${bad.fid} null demo/bad`);

    const unnamed = await store('fleeting/unnamed');
    await remove('fleeting/unnamed');
    await db().query('DELETE FROM reap WHERE fid = $1', [unnamed.fid]);
    expected.push(`unnamed ${unnamed.fid} null null/null`);

    const dangling = await store('dangling');
    await db().query(`UPDATE blobs SET state = 'gone' WHERE fid = $1`, [dangling.fid]);
    expected.push(`dangling ${dangling.fid} null demo/dangling`);
    for (const device of dangling.devices) expected.push(`orphan ${dangling.fid} ${device} demo/dangling`);

    await store('tree/a/file');
    await db().query(`UPDATE dirs SET path = 'elsewhere/' WHERE path = 'tree/a/'`);
    expected.push('directory null null demo/elsewhere/');

    // All this was so for long.
    await db().query(`UPDATE locations SET at = at - interval '1 hour'`);
    await db().query(`UPDATE repair SET at = at - interval '1 hour'`);
  });

  test('is found and named, and nothing else', async () => {
    const { code, findings, done, stderr } = await fsck(cluster());
    expect(stderr).toBe('');
    expect(findings.map(text).sort()).toEqual(expected.toSorted());
    expect(code).toBe(1);
    expect(done.clean).toBe(false);
    expect(Object.values(done.findings).reduce((sum, count) => sum + count, 0)).toBe(expected.length);
    expect(findings.every(({ next }) => next.length > 0)).toBe(true);
    const unknown = findings.filter(({ kind }) => kind === 'unknown');
    expect(unknown.map(({ next }) => next)).toEqual([
      'nothing: kept, they may be from before a restore',
      'nothing: the sweep will remove them',
    ]);
  });

  test('changed bytes are found by --verify', async () => {
    const { code, findings } = await fsck(cluster(), '--verify');
    expect(findings.map(text).sort()).toEqual([...expected, ...verified].sort());
    expect(code).toBe(1);
  });

  test('nothing was changed by looking', async () => {
    const { rows } = await db().query(`SELECT count(*)::int AS n FROM locations WHERE state = 'removing'`);
    expect(rows).toEqual([{ n: 0 }]);
    const { findings } = await fsck(cluster());
    expect(findings.map(text).sort()).toEqual(expected.toSorted());
  });

  test('is sought on one device, or in one domain, if that is asked for', async () => {
    const onDevice = expected.filter((line) => / 4 /.test(line) && !line.startsWith('orphan'));
    expect(onDevice.length).toBeGreaterThan(1);
    expect((await fsck(cluster(), '--device', '4')).findings.map(text).sort()).toEqual(onDevice.toSorted());
    const named = expected.filter((line) => !line.endsWith('null/null'));
    expect((await fsck(cluster(), '--domain', 'demo')).findings.map(text).sort()).toEqual(named.toSorted());
    expect((await fsck(cluster(), '--device', '99')).code).toBe(2);
    expect((await fsck(cluster(), '--domain', 'nowhere')).code).toBe(2);
  });

  test('is told in lines of columns in a pipe, and in words at the end', async () => {
    const env = { CISTERN_URL: cluster().trackers[0]?.url ?? '', CISTERN_TOKEN: cluster().adminToken };
    const { code, stdout } = await runCistern(['fsck'], { env });
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /^size\t\d+\t\d\tthe copy has another size\tcistern repair --verify\tdemo\tdir\/size$/m,
    );
    expect(stdout).toMatch(/^compared \d+ copies \(.*\), 11 files, 5 directories: 14 findings$/m);
  });
});

describe('a cluster in which all is well', () => {
  const cluster = useCluster({
    devices: 2,
    env: {
      tracker: {
        CISTERN_REAP_AFTER_SECONDS: '0',
        CISTERN_SWEEP_AFTER_SECONDS: '20',
        CISTERN_SWEEP_EVERY_SECONDS: '1',
      },
    },
  });
  const { put, remove } = filesOf(cluster);

  test('gives no finding while files are written, replaced, moved, replicated and deleted', async () => {
    const admin = { token: cluster().adminToken };
    for (const [name, body] of [
      ['fleeting', { trash: false, prefixes: ['fleeting/'] }],
      // Its third copy is made after the answer.
      ['late', { copies: 3, minCopies: 1, trash: false, prefixes: ['late/'] }],
    ] as const) {
      const answer = await cluster().request('PUT', `/v1/domains/demo/classes/${name}`, { ...admin, body });
      expect(answer.status).toBe(201);
    }
    let running = true;
    let rounds = 0;
    const churn = async (name: string, folder: string) => {
      for (let i = 0; running; i++, rounds++) {
        const key = `${folder}/${name}/${i % 7}`;
        expect((await put(key, `${key} ${i}`)).ok).toBe(true);
        const move = { body: { from: key, to: `${key}-moved` } };
        expect((await cluster().request('POST', '/v1/domains/demo/move', move)).ok).toBe(true);
        if (i % 2 === 0) expect((await remove(`${key}-moved`)).status).toBe(204);
      }
    };
    const actors = ['fleeting', 'late', 'kept'].flatMap((folder) => [churn('a', folder), churn('b', folder)]);
    try {
      for (let pass = 0; pass < 4; pass++) {
        const before = rounds;
        const { code, findings, stderr } = await fsck(cluster(), ...(pass % 2 === 0 ? [] : ['--verify']));
        expect({ findings, stderr, code }).toEqual({ findings: [], stderr: '', code: 0 });
        await waitFor(() => rounds > before + 50, { what: 'the cluster to be at work' });
      }
    } finally {
      running = false;
      await Promise.all(actors);
    }
  }, 180_000);

  test('is not called clean when a device cannot be looked at, and a run that was stopped goes on', async () => {
    const place = join(tmpdir(), `cistern-fsck-${process.pid}`);
    const [lost] = cluster().nodes;
    await lost?.kill();
    const names = lost?.devices.map(({ id }) => id);
    const broken = await waitFor(
      async () => {
        const run = await fsck(cluster(), '--resume', place);
        return run.done.notLooked.length === 2 && run;
      },
      { what: 'the host to be seen down', timeout: 60_000 },
    );
    expect(broken.code).toBe(2);
    expect(broken.done).toMatchObject({ clean: false, findings: {} });
    expect(broken.done.notLooked.map(({ device }) => device)).toEqual(names);
    expect(existsSync(place)).toBe(true);
    const { compared } = broken.done;
    expect(compared.files).toBeGreaterThan(0);

    expect((await fsck(cluster(), '--resume', place, '--verify')).code).toBe(2);
    await lost?.start();
    await cluster().ready();
    const whole = await fsck(cluster(), '--resume', place);
    expect(whole.code).toBe(0);
    // Only what was left over was looked at.
    expect(whole.done.compared.files).toBe(compared.files);
    expect(whole.done.compared.replicas).toBeGreaterThan(compared.replicas);
    expect(existsSync(place)).toBe(false);
  }, 120_000);

  test('ends with 2 when nobody can be asked', async () => {
    const env = { CISTERN_URL: 'http://127.0.0.1:9', CISTERN_TOKEN: cluster().adminToken };
    expect((await runCistern(['fsck'], { env })).code).toBe(2);
  });
});
