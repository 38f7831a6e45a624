// Hazard 22: a download whose listed replicas all fail looks the name up once more, for the replicas may have been
// moved, or the version replaced, since. The two sessions are held apart by an open transaction and stopped nodes.
import { copyFileSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { blobPath } from '../../storage-node/layout.ts';
import { type NodePart, useCluster } from '../support/cluster.ts';
import { filesOf, sql } from '../support/files.ts';
import { waitFor } from '../support/wait.ts';

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

/** Downloads; once it has looked the name up, `meanwhile` runs, and the nodes that it found are killed. */
async function download(key: string, found: NodePart[], meanwhile: () => Promise<unknown>) {
  const [now] = await sql<{ at: string }>(cluster(), 'SELECT clock_timestamp()::text AS at');
  for (const node of found) await node.kill('SIGSTOP');
  const pending = get(key);
  await waitFor(
    async () => {
      const seen = await sql(
        cluster(),
        `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
          AND state = 'idle' AND query LIKE '%JOIN names n ON n.dir_id = d.id%' AND query_start > $1::timestamptz`,
        [now?.at],
      );
      return seen.length > 0;
    },
    { what: 'the download to look its name up' },
  );
  await meanwhile();
  for (const node of found) await node.kill('SIGKILL');
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
