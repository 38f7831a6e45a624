// Replicas that somebody found to be bad: looked at again by their own node before the cluster believes it.
import { Problem } from '../../services/problems.ts';
import type { DeviceState } from '../cluster/state.ts';
import type { Statement } from '../database/database.ts';
import type { BlobRef, NodeClient } from '../transfer/node-client.ts';
import { markBad } from './copies.ts';
import type { Parts } from './parts.ts';

export type FindingKind = 'corrupt' | 'missing' | 'unreadable';

/**
 * Has the node read a replica from its disk: 'good', what is wrong with it, or 'unknown' if the node cannot tell now
 * (it does not answer, or its device is out of service, which says nothing about the replica).
 */
export async function inspect(
  nodes: NodeClient,
  device: DeviceState,
  { fid, size, sha256 }: BlobRef,
  signal?: AbortSignal,
): Promise<'good' | FindingKind | 'unknown'> {
  try {
    const verified = await nodes.verify(device, { fid, size, signal });
    return verified.size === size && verified.sha256 === sha256 ? 'good' : 'corrupt';
  } catch (error) {
    const problem = error instanceof Problem ? error.problem : undefined;
    if (problem === 'replica-missing') return 'missing';
    if (problem === 'replica-corrupt') return 'corrupt';
    return problem === 'internal' ? 'unreadable' : 'unknown';
  }
}

const findReplica: Statement = {
  name: 'findings-replica',
  text: `SELECT b.fid, b.size, encode(b.sha256, 'hex') AS sha256 FROM locations l JOIN blobs b ON b.fid = l.fid
    WHERE l.fid = $1 AND l.device_id = $2 AND l.state = 'good' AND b.state = 'live'`,
};

/**
 * Somebody found the replica bad. It is verified; if it is bad indeed, it counts no longer and a repair is queued.
 * True if it was marked. A verdict of 'unreadable' counts only if that is what was reported: one failed read is none.
 */
export async function reportBad(
  { db, state, nodes, log, meters }: Parts,
  fid: number,
  deviceId: number,
  kind: FindingKind,
  signal?: AbortSignal,
): Promise<boolean> {
  const device = state.device(deviceId);
  if (!device?.readable) return false;
  const [blob] = await db.query<BlobRef>(findReplica, [fid, deviceId]);
  if (blob === undefined) return false;
  const verdict = await inspect(nodes, device, blob, signal);
  if (verdict === 'good' || verdict === 'unknown' || (verdict === 'unreadable' && kind !== verdict)) {
    log.info({ fid, device: deviceId, host: device.host.name, kind, verdict }, 'bad replica not confirmed');
    return false;
  }
  if (!(await markBad(db, fid, deviceId))) return false;
  meters.bad.inc({ kind: verdict });
  log.warn({ fid, device: deviceId, host: device.host.name, verdict }, 'replica is bad');
  return true;
}
