// Hazard 5 of docs/consistency.md: an order to unlink that arrives late, after the same blob was placed there again. On
// a real node, with the very orders that the remover gives.
import pg from 'pg';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Keyring } from '../../services/tickets.ts';
import { ClusterState, type DeviceState } from '../../tracker/cluster/state.ts';
import { Database } from '../../tracker/database/database.ts';
import { addCopy } from '../../tracker/replication/copies.ts';
import { createMeters } from '../../tracker/replication/meters.ts';
import type { Parts } from '../../tracker/replication/parts.ts';
import { removeReplicas } from '../../tracker/replication/remover.ts';
import { Throttle } from '../../tracker/replication/throttle.ts';
import { NodeClient } from '../../tracker/transfer/node-client.ts';
import { useCluster } from '../support/cluster.ts';
import { findReplica } from '../support/replicas.ts';
import { waitFor } from '../support/wait.ts';

// The cluster's own tracker runs its remover all the while, beside the passes of this test: the rule holds for both.
const cluster = useCluster({ devices: 1 });
const TICKET_SECONDS = 30;

let parts: Parts;
let sql: pg.Pool;
const opened: { close(): Promise<void> }[] = [];

beforeAll(async () => {
  const { database, clusterKey } = cluster();
  const log = pino({ level: 'silent' });
  const db = new Database({ url: database, max: 4, log });
  const state = await ClusterState.open({ db, log, downSeconds: 5, stateSeconds: 0.2 });
  const nodes = new NodeClient(state, new Keyring(clusterKey));
  const config = {
    CISTERN_REAP_AFTER_SECONDS: 0,
    CISTERN_SWEEP_AFTER_SECONDS: 0,
    CISTERN_SWEEP_EVERY_SECONDS: 3600,
    CISTERN_REPAIR_WORKERS: 0,
  };
  parts = {
    config,
    log,
    db,
    state,
    nodes,
    meters: createMeters(new Registry()),
    throttle: new Throttle(0),
    watch: { missed: new Set<number>() },
  };
  sql = new pg.Pool({ connectionString: database });
  opened.push({ close: async () => state.stop() }, nodes, db, { close: () => sql.end() });
});
afterAll(async () => {
  for (const one of opened) await one.close();
});

const signal = new AbortController().signal;

it('is refused by the node once the place may be used again', async () => {
  const answer = await cluster().request('PUT', '/v1/domains/demo/files/stale.txt', { body: 'placed twice' });
  const { fid } = (await answer.json()) as { fid: number };
  const rows = async () =>
    (await sql.query('SELECT state FROM locations WHERE fid = $1 AND device_id = $2', [fid, device.id])).rows;
  const { rows: placed } = await sql.query('SELECT device_id FROM locations WHERE fid = $1', [fid]);
  const device = parts.state.device(placed[0].device_id) as DeviceState;
  const source = parts.state.device(placed[1].device_id) as DeviceState;
  const onDisk = async () => (await findReplica(cluster(), fid, device.id)) !== undefined;

  // A permission was given just now, and its order is held up somewhere: the row is not due.
  await sql.query(`UPDATE locations SET state = 'removing', at = now() WHERE fid = $1 AND device_id = $2`, [
    fid,
    device.id,
  ]);
  const heldUp = { fid, expiresAt: parts.state.now() + TICKET_SECONDS * 1000 };
  await removeReplicas(parts, TICKET_SECONDS, signal);
  expect(await onDisk()).toBe(true);

  // While that order could still be carried out, the place is taken: nothing is put there.
  expect(await parts.nodes.delete(device, heldUp)).toBe('removed');
  expect(await addCopy(parts.db, fid, device.id, parts.state.now())).toBe('refused');
  expect(await parts.nodes.delete(device, heldUp)).toBe('absent');
  await removeReplicas(parts, TICKET_SECONDS, signal);
  expect(await rows()).toEqual([{ state: 'removing' }]);

  // Only when it has ended may a pass that finds nothing free the place.
  const past = TICKET_SECONDS * 1000 + 60_000;
  await sql.query(`UPDATE locations SET at = at - interval '90 seconds' WHERE fid = $1 AND device_id = $2`, [
    fid,
    device.id,
  ]);
  await removeReplicas(parts, TICKET_SECONDS, signal);
  await waitFor(async () => (await rows()).length === 0, { what: 'the row to go' });

  // The blob is placed there again; then the order arrives that was held up.
  const { rows: blobs } = await sql.query(
    `SELECT size, encode(sha256, 'hex') AS sha256 FROM blobs WHERE fid = $1`,
    [fid],
  );
  const order = {
    fid,
    size: Number(blobs[0].size),
    sha256: blobs[0].sha256,
    binding: { domain: 'demo', key: 'stale.txt', class: 'default' },
    sources: [source],
  };
  await parts.nodes.copy(device, order);
  expect(await addCopy(parts.db, fid, device.id, parts.state.now())).toBe('added');
  const late = { fid, expiresAt: heldUp.expiresAt - past };
  await expect(parts.nodes.delete(device, late)).rejects.toMatchObject({ problem: 'ticket-refused' });
  expect(await onDisk()).toBe(true);

  // Were its ticket valid for longer than the row stands, it would have destroyed a replica that counts.
  expect(await parts.nodes.delete(device, heldUp)).toBe('removed');
  expect(await rows()).toEqual([{ state: 'good' }]);
  expect(await onDisk()).toBe(false);
});
