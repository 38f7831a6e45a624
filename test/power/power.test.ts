// The power is cut: every node dies, and their disks forget what was not fsynced (see forgetful.py). Each replica that an
// acknowledged upload counts must still be there, with its bytes, and none is healed by another: nothing repairs here.
import {
  closeSync,
  constants,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { age, strays, verifyReplicas } from '../chaos/disks.ts';
import { Random } from '../chaos/random.ts';
import { type Cluster, startCluster } from '../support/cluster.ts';
import { FailPoints } from '../support/fail-points.ts';
import { filesOf, sha256 } from '../support/files.ts';
import { needs } from '../support/needs.ts';
import { waitFor } from '../support/wait.ts';
import { type Cut, cannotMount, ForgetfulDisk, lacksFusepy } from './forgetful.ts';

const lack = cannotMount() ?? lacksFusepy();
const seed = process.env.CHAOS_SEED ?? String(Date.now());
// Several restarts of all nodes, on a machine that may be slow and busy.
const TIMEOUT_MS = 240_000;
let disk: ForgetfulDisk;
beforeAll(async () => {
  if (lack === undefined) disk = await new ForgetfulDisk().mount();
});
afterAll(() => disk?.unmount());
beforeEach((context) => needs(context, lack));

function fsync(path: string): void {
  const fd = openSync(path, 'r');
  fsyncSync(fd);
  closeSync(fd);
}

test('the disk keeps what was fsynced, and nothing else', async () => {
  const root = `${disk.path}/trial`;
  const at = (name: string) => `${root}/${name}`;
  mkdirSync(root);
  fsync(disk.path);
  for (const name of ['kept', 'unsynced', 'removed', 'moved']) writeFileSync(at(name), name);
  const through = openSync(at('through'), constants.O_CREAT | constants.O_WRONLY | constants.O_DSYNC);
  writeSync(through, 'through');
  closeSync(through);
  for (const name of ['kept', 'removed', 'moved']) fsync(at(name));
  fsync(root);
  rmSync(at('removed'));
  renameSync(at('moved'), at('to'));
  linkSync(at('kept'), at('linked'));
  writeFileSync(at('kept'), 'other bytes');
  mkdirSync(at('directory'));
  await disk.cut('nothing');
  const contents = () =>
    Object.fromEntries(readdirSync(root).map((name) => [name, readFileSync(at(name), 'utf8')]));
  const safe = { kept: 'kept', unsynced: '', removed: 'removed', moved: 'moved', through: 'through' };
  expect(contents()).toEqual(safe);
  writeFileSync(at('named'), 'bytes that are lost');
  await disk.cut('names');
  expect(contents()).toEqual({ ...safe, named: '' });
  rmSync(root, { recursive: true });
  fsync(disk.path);
});

describe('nodes whose power is cut', () => {
  const points = new FailPoints();
  const acknowledged = new Map<string, string>();
  const random = new Random(`${seed}/power`);
  let cluster: Cluster;
  let db: pg.Pool;
  const { put, get, remove } = filesOf(() => cluster);

  beforeAll(async () => {
    if (lack !== undefined) return;
    const tracker = { CISTERN_REPAIR_WORKERS: '0', CISTERN_REAP_AFTER_SECONDS: '0' };
    cluster = await startCluster(points.into({ devices: 1, disks: disk.path, env: { tracker } }));
    db = new pg.Pool({ connectionString: cluster.database });
    // Where its disks are mounted, no machine forgets.
    for (const { host } of cluster.nodes) fsync(`${disk.path}/${host}`);
    fsync(disk.path);
    const everywhere = { copies: 3, minCopies: 3, trash: false };
    const token = cluster.adminToken;
    const made = await cluster.request('PUT', '/v1/domains/demo/classes/default', {
      token,
      body: everywhere,
    });
    expect(made.ok).toBe(true);
  });
  afterAll(async () => {
    await db?.end();
    await cluster?.stop();
    points.remove();
  });

  /** Kills all nodes, cuts the power, starts the nodes again. */
  async function powerCut(how: Cut): Promise<void> {
    await Promise.all(cluster.nodes.map((node) => node.kill()));
    await disk.cut(how);
    await Promise.all(cluster.nodes.map((node) => node.start()));
    await cluster.ready();
  }

  /** Every replica that is counted is there, and every acknowledged file can be read. */
  async function allIsThere(): Promise<void> {
    const { verified, wrong } = await verifyReplicas(cluster, db);
    expect(wrong).toEqual([]);
    expect(verified).toBeGreaterThanOrEqual(3 * acknowledged.size);
    for (const [key, digest] of acknowledged) {
      expect([key, sha256(await (await get(key)).bytes())]).toEqual([key, digest]);
    }
  }

  function body(): Buffer {
    const size = random.weighted({ empty: 1, small: 8, medium: 3, large: 1 });
    const most = { empty: 0, small: 20_000, medium: 500_000, large: 3_000_000 }[size];
    return random.bytes(random.between(0, most));
  }

  /** One upload; false if it was not acknowledged. */
  async function upload(key: string): Promise<boolean> {
    const bytes = body();
    const answer = await put(key, bytes);
    if (answer.status === 201) acknowledged.set(key, sha256(bytes));
    return answer.status === 201;
  }

  /** A tracker that starts takes new fids, and so nodes make new directories. */
  const newDirectories = async () => {
    await cluster.trackers[0]?.restart();
    await cluster.ready();
  };

  test.each<Cut>(['nothing', 'names', `seed-${seed}`])(
    'keep every acknowledged upload, though the disks keep %s of what was not fsynced',
    async (how) => {
      await newDirectories();
      const enough = acknowledged.size + random.between(20, 50);
      let dark = false;
      const write = async (_: unknown, writer: number) => {
        for (let i = 0; !dark; i++) await upload(`${how}/${writer}/${i}`);
      };
      const writing = Promise.all(Array.from({ length: 6 }, write));
      await waitFor(() => acknowledged.size >= enough, {
        what: 'uploads to be acknowledged',
        timeout: 60_000,
        every: 1,
      });
      const cut = powerCut(how);
      dark = true;
      await Promise.all([cut, writing]);
      await allIsThere();
    },
    TIMEOUT_MS,
  );

  test(
    'trust no directory that another run made and did not fsync',
    async () => {
      await newDirectories();
      points.arm('node-directory-made', 'kill');
      const first = upload('died');
      const node = await points.struck(cluster, 'node-directory-made');
      await node.kill();
      await node.start();
      await first;
      await cluster.ready();
      // Its directory is there, but only in memory. The next fids belong in it.
      await waitFor(() => upload('into the directory that was there'), {
        what: 'an upload',
        timeout: 60_000,
      });
      await powerCut('nothing');
      await allIsThere();
    },
    TIMEOUT_MS,
  );

  test(
    'make a blob durable that an earlier try left behind, before they say that they have it',
    async () => {
      const bytes = random.bytes(5_000);
      const opened = await cluster.request('POST', '/v1/domains/demo/uploads', {
        body: { key: 'sent twice', size: bytes.length },
      });
      const { fid, url } = (await opened.json()) as { fid: number; url: string };
      points.arm('node-linked', 'kill');
      const send = () => fetch(url, { method: 'PUT', body: bytes as NonNullable<RequestInit['body']> });
      const first = send().catch(() => undefined);
      const node = await points.struck(cluster, 'node-linked');
      await node.kill();
      await node.start();
      await first;
      await cluster.ready();
      const receipt = await (await send()).json();
      const path = `/v1/domains/demo/uploads/${fid}/commit`;
      expect((await cluster.request('POST', path, { body: { receipt } })).status).toBe(201);
      acknowledged.set('sent twice', sha256(bytes));
      await powerCut('nothing');
      await allIsThere();
    },
    TIMEOUT_MS,
  );

  test(
    'do not say that a blob is gone while it could come back',
    async () => {
      await put('to be removed', 'soon gone');
      points.arm('node-unlinked', 'kill');
      expect((await remove('to be removed')).status).toBe(204);
      const node = await points.struck(cluster, 'node-unlinked');
      await node.kill();
      await node.start();
      await cluster.ready();
      const forgotten = async () => {
        await age(db);
        return (await db.query(`SELECT FROM locations WHERE state = 'removing'`)).rowCount === 0;
      };
      await waitFor(forgotten, { what: 'the replicas to be forgotten', timeout: 60_000, every: 200 });
      const unfinished = await strays(cluster, db);
      await powerCut('nothing');
      expect(await strays(cluster, db)).toEqual(unfinished);
      await allIsThere();
    },
    TIMEOUT_MS,
  );
});
