// PostgreSQL fails over beneath a running cluster: the primary is killed under load, its standby is promoted; and what
// can be read while nobody is the primary.
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Cluster, startCluster } from './support/cluster.ts';
import { filesOf, pathOfFile, problemOf } from './support/files.ts';
import { EmbeddedServer } from './support/postgres.ts';
import { waitFor } from './support/wait.ts';

/** The promise is that uploads are taken again within so long after a promotion. */
const BACK_MS = 10_000;

let cluster: Cluster | undefined;
afterEach(({ task }) => {
  if (task.result?.state === 'fail') process.stderr.write(`${cluster?.logs()}\n`);
});
const running = () => cluster as Cluster;
const { put, get, head, remove } = filesOf(running);
const readyz = (tracker = 0) => fetch(`${running().trackers[tracker]?.url}/readyz`);
const stale = (answer: Response) => Number(answer.headers.get('cistern-stale') ?? Number.NaN);

async function status() {
  const answer = await running().request('GET', '/v1/status', { token: running().adminToken });
  return (await answer.json()) as {
    verdict: string;
    reasons: { what: string }[];
    database: { server: string };
  };
}

async function counterOf(server: EmbeddedServer): Promise<{ next_fid: string; sweep_from: string }> {
  const [row] = await server.sql<{ next_fid: string; sweep_from: string }>('SELECT * FROM cluster');
  if (row === undefined) throw new Error('the cluster has no counter');
  return row;
}

describe('a primary, its synchronous standby, and one behind that', () => {
  const servers: EmbeddedServer[] = [];
  let [a, b, c] = [] as unknown as [EmbeddedServer, EmbeddedServer, EmbeddedServer];
  beforeAll(async () => {
    a = await EmbeddedServer.create();
    servers.push(a);
    b = await a.standby('b');
    servers.push(b);
    c = await b.standby('c');
    servers.push(c);
    await a.set('synchronous_standby_names', 'b');
    await b.set('synchronous_standby_names', 'c');
    const [first, ...others] = servers.map(({ url }) => new URL(url));
    const hosts = [first, ...others].map((url) => url?.host).join(',');
    const database = (first?.href ?? '').replace(first?.host ?? '', hosts);
    cluster = await startCluster({ trackers: 2, nodes: 3, devices: 1, database });
  }, 180_000);
  afterAll(async () => {
    await cluster?.stop();
    for (const server of servers.reverse()) await server.remove();
  });

  test('the standby is lost: uploads are refused, and say why; files can be read', {
    timeout: 60_000,
  }, async () => {
    await put('before', 'acknowledged');
    await b.stop();
    const refused = await put('meanwhile', 'never acknowledged');
    expect(await problemOf(refused)).toEqual({ name: 'database-unavailable', status: 503 });
    const why = 'no synchronous standby confirms what is written';
    const ready = await waitFor(async () => (await readyz()).status === 503 && (await readyz()), {
      what: 'the tracker to say that it takes no writes',
    });
    expect(await ready.text()).toContain(why);
    const { verdict, reasons } = await status();
    expect(verdict).toBe('unhealthy');
    expect(reasons[0]?.what).toContain(why);
    // Longer than hosts may be silent: their heartbeats cannot be stored.
    await sleep(3_000);
    for (const tracker of [0, 1]) {
      const answer = await get('before', { tracker });
      expect([answer.status, await answer.text(), stale(answer)]).toEqual([200, 'acknowledged', Number.NaN]);
    }
    await b.start();
    await waitFor(async () => (await put('after', 'as before')).ok, { what: 'uploads to be taken again' });
    const left = await get('meanwhile');
    if (left.status !== 404) expect(await left.text()).toBe('never acknowledged');
  });

  test('the primary is killed under load and the standby promoted: nothing that was acknowledged is lost', {
    timeout: 120_000,
  }, async () => {
    await waitFor(async () => (await readyz(0)).ok && (await readyz(1)).ok, { what: 'both trackers' });
    const files = new Map<string, { bytes: string; acknowledged: boolean }>();
    let promoted: number | undefined;
    let [ending, refused, acknowledgedAt] = [false, 0, 0];
    const write = async (writer: number) => {
      for (let i = 0; !ending; i++) {
        const key = `load/${writer}-${i}`;
        const bytes = `${key} ${'x'.repeat(i % 2_000)}`;
        const answer = await running().request('PUT', pathOfFile(key), {
          body: bytes,
          tracker: (writer + i) % 2,
        });
        files.set(key, { bytes, acknowledged: answer.ok });
        await answer.arrayBuffer();
        if (!answer.ok) refused++;
        else if (promoted !== undefined) acknowledgedAt ||= performance.now();
        if (!answer.ok) await sleep(50);
      }
    };
    const writers = Promise.all(Array.from({ length: 6 }, (_, i) => write(i)));
    try {
      await waitFor(() => files.size > 100, { what: 'the first files' });
      await a.kill();
      await waitFor(async () => refused > 0 || (await readyz()).status === 503, { what: 'the loss' });
      await b.promote();
      promoted = performance.now();
      await waitFor(() => acknowledgedAt > 0, { what: 'an upload after the promotion', timeout: BACK_MS });
      // One tracker may have found the new primary a moment before the other.
      await waitFor(async () => (await readyz(0)).ok && (await readyz(1)).ok, {
        what: 'both trackers again',
      });
      // A tracker that has not seen yet that it is another database hands out what it was given by the former one.
      const jumped = async () => Number((await counterOf(b)).next_fid) > 1_000_000;
      await waitFor(jumped, { what: 'fids to leave out what the former primary may have handed out' });
      expect((await status()).database.server).toBe(new URL(b.url).host);
    } finally {
      ending = true;
      await writers;
    }

    for (const [key, { bytes, acknowledged }] of files) {
      const answer = await get(key, { tracker: acknowledged ? 1 : 0 });
      if (acknowledged || answer.status !== 404) expect([key, await answer.text()]).toEqual([key, bytes]);
    }
    expect(Number((await counterOf(b)).sweep_from)).toBeGreaterThan(1_000_000);
    // What the standby's standby has is what counts from now on.
    const acknowledged = [...files.values()].filter((file) => file.acknowledged).length;
    const [row] = await c.sql<{ n: string }>(`SELECT count(*) AS n FROM names WHERE fid IS NOT NULL`);
    expect(Number(row?.n)).toBeGreaterThanOrEqual(acknowledged);
  });
});

describe('no primary answers', () => {
  let server: EmbeddedServer;
  beforeAll(async () => {
    server = await EmbeddedServer.create();
    const env = { tracker: { CISTERN_STALE_READS: '8' } };
    cluster = await startCluster({ trackers: 2, nodes: 2, devices: 1, database: server.url, env });
  }, 120_000);
  afterAll(async () => {
    await cluster?.stop();
    await server?.remove();
  });

  const counted = async () => {
    const metrics = await (await fetch(`${running().trackers[0]?.url}/metrics`)).text();
    return Number(/^cistern_stale_reads_total\{.*\} (\d+)$/m.exec(metrics)?.[1]);
  };

  test('files that were read lately are served for a while, and nothing else is', {
    timeout: 90_000,
  }, async () => {
    for (const key of ['read', 'replaced', 'deleted', 'dir/moved', 'unread']) await put(key, `old ${key}`);
    for (const key of ['read', 'replaced', 'deleted', 'dir/moved']) await get(key);
    await put('replaced', 'new');
    await remove('deleted');
    const moved = { from: 'dir', to: 'other' };
    await running().request('POST', '/v1/domains/demo/move', { body: moved });
    // With the directory moved, the tracker has forgotten all of the domain.
    const before = await get('read');
    expect([await before.text(), stale(before)]).toEqual(['old read', Number.NaN]);
    expect(await counted()).toBe(0);

    await server.kill();
    const answer = await get('read');
    expect([answer.status, await answer.text()]).toEqual([200, 'old read']);
    expect(stale(answer)).toBeGreaterThanOrEqual(1);
    const headers = await head('read');
    expect([headers.status, headers.headers.get('content-length')]).toEqual([200, '8']);
    expect(stale(headers)).toBeGreaterThanOrEqual(1);
    const condition = { headers: { 'if-none-match': answer.headers.get('etag') ?? '' } };
    const unchanged = await running().request('GET', pathOfFile('read'), condition);
    expect([unchanged.status, stale(unchanged) >= 1]).toEqual([304, true]);
    expect(await counted()).toBe(3);

    const away = { name: 'database-unavailable', status: 503 };
    for (const key of ['replaced', 'deleted', 'dir/moved', 'other/moved', 'unread', 'never there']) {
      expect([key, await problemOf(await get(key))]).toEqual([key, away]);
    }
    // The other tracker has read nothing.
    expect(await problemOf(await get('read', { tracker: 1 }))).toEqual(away);
    for (const [method, path, body] of [
      ['GET', '/v1/domains/demo/directories/'],
      ['POST', '/v1/domains/demo/stat', { keys: ['read'] }],
      ['PUT', pathOfFile('read'), 'not now'],
      ['DELETE', pathOfFile('read')],
      ['POST', '/v1/domains/demo/uploads', { key: 'read', size: 1 }],
    ] as const) {
      const options = body === undefined ? {} : { body };
      const refused = await running().request(method, path, options);
      expect([method, path, await problemOf(refused)]).toEqual([method, path, away]);
    }
    await waitFor(async () => (await get('read')).status === 503, { what: 'the end of stale reads' });
    await server.start();
    await waitFor(async () => (await get('read')).ok, { what: 'the database' });
    expect(stale(await get('read'))).toBeNaN();
  });

  test('an upload of unknown outcome is not read over', { timeout: 60_000 }, async () => {
    await put('unsure', 'old');
    await get('unsure');
    await get('read');
    // The commit has come to the database, and cannot end.
    const holder = new pg.Client({ connectionString: server.url });
    holder.on('error', () => {});
    await holder.connect();
    await holder.query('BEGIN; LOCK TABLE blobs IN SHARE ROW EXCLUSIVE MODE');
    const writing = put('unsure', 'new');
    await waitFor(
      async () => {
        // Work in the background may wait beside it. In a transaction, what others do would look as it did at first.
        await holder.query('SELECT pg_stat_clear_snapshot()');
        const found = await holder.query(
          "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'WITH entered%'",
        );
        return found.rowCount === 1;
      },
      { what: 'the commit' },
    );
    await server.kill();
    const answers = await Promise.all([get('read'), get('unsure')]);
    expect(answers.map(({ status }) => status)).toEqual([200, 503]);
    expect((await writing).status).toBe(503);
    await server.start();
    await waitFor(async () => (await get('unsure')).ok, { what: 'the database' });
  });
});
