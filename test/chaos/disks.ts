// What the disks hold, beside what the database says of them.
import { join } from 'node:path';
import type pg from 'pg';
import type { Verified } from '../../services/protocol.ts';
import { Keyring, type Ticket } from '../../services/tickets.ts';
import { blobPath } from '../../storage-node/layout.ts';
import type { Cluster } from '../support/cluster.ts';
import { onDisks, rootOf } from '../support/replicas.ts';

/** Path of a replica's file, if it has or had one of its own. */
export function replicaPath(cluster: Cluster, fid: number, device: number): string {
  return join(rootOf(cluster, device), blobPath(fid));
}

/**
 * Lets what is known of replicas look an hour old, so that nothing waits for its grace period to end. How long replicas
 * that nobody counts are left alone, the cluster's CISTERN_SWEEP_AFTER_SECONDS says.
 */
export async function age(db: pg.Pool): Promise<void> {
  await ageReplicas(db);
  // A permission to unlink that was given just now is being used: its row must be found as it is.
  await db.query(`UPDATE locations SET at = at - interval '1 hour'
    WHERE state = 'removing' AND at < now() - interval '2 seconds' AND at > now() - interval '1 hour'`);
}

/** Lets what is counted look an hour old: the sweep says nothing of replicas that were counted just now. */
export async function ageReplicas(db: pg.Pool): Promise<void> {
  await db.query(`UPDATE locations SET at = at - interval '1 hour'
    WHERE state = 'good' AND at > now() - interval '1 hour'`);
}

/**
 * Where disks and database differ: replicas that no good location counts, and good locations without a replica. What lies on
 * dead devices is nobody's.
 */
export async function strays(cluster: Cluster, db: pg.Pool): Promise<string[]> {
  const dead = (await db.query(`SELECT id FROM devices WHERE state = 'dead'`)).rows.map(({ id }) => id);
  const { rows } = await db.query<{ replica: string }>(
    `SELECT l.fid || '/' || l.device_id AS replica FROM locations l JOIN devices d ON d.id = l.device_id
      WHERE l.state = 'good' AND d.state <> 'dead'`,
  );
  const counted = new Set(rows.map(({ replica }) => replica));
  const nodes = cluster.nodes.map((node) => ({
    devices: node.devices.filter(({ id }) => !dead.includes(id)),
  }));
  const { replicas, temporary } = await onDisks({ nodes });
  return [
    ...[...replicas].filter((one) => !counted.has(one)).map((one) => `${one} is on its disk and not counted`),
    ...[...counted].filter((one) => !replicas.has(one)).map((one) => `${one} is counted and not on its disk`),
    ...temporary.map((path) => `${path} was left behind`),
  ];
}

interface Counted {
  fid: number;
  device: number;
  url: string;
  size: number;
  sha256: string;
}

/**
 * Has every good replica read by its node, and compares. Answers with what is wrong, and how many were read. A replica
 * that stopped to count meanwhile, because it was trimmed or its blob was reaped, may be gone.
 */
export async function verifyReplicas(
  cluster: Pick<Cluster, 'clusterKey'>,
  db: pg.Pool,
): Promise<{ verified: number; wrong: string[] }> {
  const { rows } = await db.query<Counted>(
    `SELECT l.fid::float8 AS fid, l.device_id AS device, h.url, b.size::float8 AS size, encode(b.sha256, 'hex') AS sha256
      FROM locations l JOIN blobs b ON b.fid = l.fid JOIN devices d ON d.id = l.device_id JOIN hosts h ON h.id = d.host_id
      WHERE l.state = 'good' AND d.state <> 'dead' ORDER BY l.fid`,
  );
  const keyring = new Keyring(cluster.clusterKey);
  const wrong: string[] = [];
  const counts = async ({ fid, device }: Counted) =>
    (
      await db.query(`SELECT FROM locations WHERE fid = $1 AND device_id = $2 AND state = 'good'`, [
        fid,
        device,
      ])
    ).rows.length > 0;
  const verify = async (one: Counted) => {
    const { fid, device, url, size, sha256 } = one;
    const ticket: Ticket = { op: 'verify', dev: device, fid, exp: Date.now() + 60_000 };
    const path = `/devices/${device}/blobs/${fid}/verify?ticket=${keyring.sign(ticket)}`;
    const answer = await fetch(url + path, { method: 'POST' });
    const found = (await answer.json()) as Partial<Verified>;
    if (answer.ok && found.size === size && found.sha256 === sha256) return;
    if (!(await counts(one))) return;
    wrong.push(answer.ok ? `${fid}/${device} has other bytes` : `${fid}/${device}: ${JSON.stringify(found)}`);
  };
  for (let i = 0; i < rows.length; i += 16) await Promise.all(rows.slice(i, i + 16).map(verify));
  return { verified: rows.length, wrong };
}
