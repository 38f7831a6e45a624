// Hazard 22: a download whose listed replicas all fail looks the name up once more, for the replicas may have been
// moved, or the version replaced, since. The two sessions are held apart by an open transaction and listeners in
// the place of nodes, which show when the name was looked up.
import { once } from 'node:events';
import { copyFileSync, mkdirSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { blobPath } from '../../storage-node/layout.ts';
import { type NodePart, useCluster } from '../support/cluster.ts';
import { filesOf, sql } from '../support/files.ts';

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

/** Puts a copy of the blob's file on another node's disk. */
function copyBlob(fid: number, from: NodePart, to: NodePart): void {
  const path = join(deviceOf(to).path, blobPath(fid));
  mkdirSync(dirname(path), { recursive: true });
  if (from !== to) copyFileSync(join(deviceOf(from).path, blobPath(fid)), path);
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
  copyBlob(fid, holders[0] as NodePart, spare);
  await session.query('BEGIN');
  await session.query('DELETE FROM locations WHERE fid = $1', [fid]);
  await session.query('INSERT INTO locations (fid, device_id) VALUES ($1, $2)', [fid, deviceOf(spare).id]);
  const answer = await download('moved', holders, () => session.query('COMMIT'));
  expect(answer).toEqual({ status: 200, text: 'moved bytes' });
});

it('answers with the version that replaced what cannot be read any more', async () => {
  const { fid: old, holders, spare: reader } = await stored('replaced', 'old bytes');
  const { fid, holders: sources } = await stored('other', 'new bytes');
  copyBlob(fid, sources.includes(reader) ? reader : (sources[0] as NodePart), reader);
  await session.query('BEGIN');
  await session.query('INSERT INTO locations (fid, device_id) VALUES ($1, $2) ON CONFLICT DO NOTHING', [
    fid,
    deviceOf(reader).id,
  ]);
  await session.query('UPDATE names SET fid = $1 WHERE fid = $2', [fid, old]);
  const answer = await download('replaced', holders, () => session.query('COMMIT'));
  expect(answer).toEqual({ status: 200, text: 'new bytes' });
});
