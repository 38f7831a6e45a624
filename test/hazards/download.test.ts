// Hazard 22: a download whose listed replicas all fail looks the name up once more, for the replicas may have been
// moved, or the version replaced, since. The two sessions are held apart by an open transaction and listeners in
// the place of nodes, which show when the name was looked up. Beside them the same without the second look.
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createMetrics } from '../../services/metrics.ts';
import { Keyring } from '../../services/tickets.ts';
import { blobPath } from '../../storage-node/layout.ts';
import { ClusterState, type DomainState } from '../../tracker/cluster/state.ts';
import { Database } from '../../tracker/database/database.ts';
import { Namespace } from '../../tracker/namespace/namespace.ts';
import type { FoundFile } from '../../tracker/namespace/types.ts';
import type { Tracker } from '../../tracker/tracker.ts';
import { Replicas } from '../../tracker/transfer/download.ts';
import { NodeClient } from '../../tracker/transfer/node-client.ts';
import { type NodePart, useCluster } from '../support/cluster.ts';
import { filesOf, sql } from '../support/files.ts';
import { readReplica, replicaOf } from '../support/replicas.ts';

const cluster = useCluster({ devices: 1 });
const { put, get } = filesOf(cluster);
let session: pg.Client;

beforeEach(async () => {
  session = new pg.Client({ connectionString: cluster().database });
  await session.connect();
});
afterEach(async () => {
  await session.end();
  for (const node of cluster().nodes) await node.restart();
  await cluster().ready();
});

const deviceOf = (node: NodePart) => node.devices[0] as { id: number; path: string };

/** Stores a file; tells its fid, the two nodes that hold it, and the one that does not. */
async function stored(key: string, body: string) {
  const { fid } = (await (await put(key, body)).json()) as { fid: number };
  const rows = await sql<{ device_id: number }>(cluster(), 'SELECT device_id FROM locations WHERE fid = $1', [
    fid,
  ]);
  const ids = new Set(rows.map(({ device_id }) => device_id));
  const holders = cluster().nodes.filter((node) => ids.has(deviceOf(node).id));
  const [spare] = cluster().nodes.filter((node) => !holders.includes(node));
  if (holders.length !== 2 || spare === undefined) throw new Error('the file is not on two of three hosts');
  return { fid, holders, spare };
}

/** Puts a copy of the blob on another node's disk. */
async function copyBlob(fid: number, from: NodePart, to: NodePart): Promise<void> {
  const path = join(deviceOf(to).path, blobPath(fid));
  mkdirSync(dirname(path), { recursive: true });
  if (from !== to) writeFileSync(path, readReplica(await replicaOf(cluster(), fid, deviceOf(from).id)));
}

/** Kills a node and listens in its place; never answers. `asked` resolves at the first connection. */
async function impersonate(node: NodePart) {
  await node.kill('SIGKILL');
  const sockets = new Set<Socket>();
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    resolve();
  });
  server.listen(Number(new URL(node.url).port), '127.0.0.1');
  await once(server, 'listening');
  const end = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { asked, end };
}

/** Downloads; once a node that holds the blob is asked for it, `meanwhile` runs, and these nodes are gone. */
async function download(key: string, holders: NodePart[], meanwhile: () => Promise<unknown>) {
  const standIns = await Promise.all(holders.map(impersonate));
  const pending = get(key);
  await Promise.race(standIns.map(({ asked }) => asked));
  await meanwhile();
  for (const { end } of standIns) end();
  const answer = await pending;
  return { status: answer.status, text: await answer.text() };
}

it('finds replicas that were moved after the name was looked up', async () => {
  const { fid, holders, spare } = await stored('moved', 'moved bytes');
  await copyBlob(fid, holders[0] as NodePart, spare);
  await session.query('BEGIN');
  await session.query('DELETE FROM locations WHERE fid = $1', [fid]);
  await session.query('INSERT INTO locations (fid, device_id) VALUES ($1, $2)', [fid, deviceOf(spare).id]);
  const answer = await download('moved', holders, () => session.query('COMMIT'));
  expect(answer).toEqual({ status: 200, text: 'moved bytes' });
});

it('answers with the version that replaced what cannot be read any more', async () => {
  const { fid: old, holders, spare: reader } = await stored('replaced', 'old bytes');
  const { fid, holders: sources } = await stored('other', 'new bytes');
  await copyBlob(fid, sources.includes(reader) ? reader : (sources[0] as NodePart), reader);
  await session.query('BEGIN');
  await session.query('INSERT INTO locations (fid, device_id) VALUES ($1, $2) ON CONFLICT DO NOTHING', [
    fid,
    deviceOf(reader).id,
  ]);
  await session.query('UPDATE names SET fid = $1 WHERE fid = $2', [fid, old]);
  const answer = await download('replaced', holders, () => session.query('COMMIT'));
  expect(answer).toEqual({ status: 200, text: 'new bytes' });
});

it('would be given up, were the name not looked up again', async () => {
  const { database, clusterKey } = cluster();
  const log = pino({ level: 'silent' });
  const db = new Database({ url: database, max: 4, log });
  const state = await ClusterState.open({ db, log, downSeconds: 5, stateSeconds: 60 });
  const nodes = new NodeClient(state, new Keyring(clusterKey));
  try {
    const { fid, holders, spare } = await stored('held', 'held bytes');
    const domain = (await state.domain('demo')) as DomainState;
    const namespace = new Namespace(db, state, () => undefined);
    const file = (await namespace.find(domain, 'held')) as FoundFile;
    await copyBlob(fid, holders[0] as NodePart, spare);
    await session.query('DELETE FROM locations WHERE fid = $1', [fid]);
    await session.query('INSERT INTO locations (fid, device_id) VALUES ($1, $2)', [fid, deviceOf(spare).id]);
    for (const node of holders) await node.kill('SIGKILL');
    const tracker = { state, nodes, log, metrics: createMetrics('tracker'), namespace } as Tracker;
    const read = async (parts: Tracker) =>
      Buffer.from(await new Replicas(parts, domain, file, 'test').whole()).toString();
    expect(await read(tracker)).toBe('held bytes');
    const asBefore = { find: async () => file } as unknown as Namespace;
    const alone = read({ ...tracker, namespace: asBefore });
    await expect(alone).rejects.toMatchObject({ problem: 'no-good-replica' });
  } finally {
    state.stop();
    await nodes.close();
    await db.close();
  }
});
