// Has the storage nodes read selected replicas again, and queues what is bad: what a scrub does in the course of days,
// for what an operator wants to know now.
import pLimit from 'p-limit';
import type { DeviceState } from '../cluster/state.ts';
import type { Statement } from '../database/database.ts';
import { type FindingKind, inspect, reportBad } from './findings.ts';
import { findName } from './names.ts';
import { nameDevice, type Parts, whyUnreadable } from './parts.ts';
import { type Selection, selected, valuesOf } from './selection.ts';

/** Blobs that one page looks through, and bytes after which it ends. */
const LOOKED_AT = 1_000;
const PAGE_BYTES = 256 * 1024 * 1024;
/** Replicas that one device reads at once. */
const READS_A_DEVICE = 4;

const findReplicas: Statement = {
  name: 'verify-replicas',
  text: `WITH batch AS MATERIALIZED (
      SELECT fid, size, sha256 FROM blobs WHERE fid > $1 AND state = 'live' ORDER BY fid LIMIT $2
    )
    SELECT b.fid, b.size, encode(b.sha256, 'hex') AS sha256, l.devices FROM batch b, LATERAL (
      SELECT coalesce(array_agg(l.device_id), '{}') AS devices FROM locations l JOIN devices d ON d.id = l.device_id
      WHERE l.fid = b.fid AND l.state = 'good' AND d.state <> 'dead' AND ($6::int IS NULL OR l.device_id = $6)
        AND ${selected('b.fid', 3)}
    ) AS l ORDER BY b.fid`,
};

interface Looked {
  fid: number;
  size: number;
  sha256: string;
  devices: number[];
}

export interface BadReplica {
  fid: number;
  device: number;
  domain: string | null;
  key: string | null;
  what: FindingKind;
}

export interface Verification {
  /** Replicas that were read. */
  verified: number;
  bytes: number;
  bad: BadReplica[];
  /** Devices that could not be asked, and why: their replicas were not read. */
  away: { device: number; why: string }[];
  next?: number;
}

/**
 * Has the selected replicas after fid `after` read by their nodes. What is bad counts no longer and is queued, unless
 * `onlyLook`.
 */
export async function verifyReplicas(
  parts: Parts,
  after: number,
  selection: Selection,
  onlyLook: boolean,
): Promise<Verification> {
  const { db, state } = parts;
  const rows = await db.query<Looked>(findReplicas, [after, LOOKED_AT, ...valuesOf(selection)]);
  const page = upTo(rows, PAGE_BYTES);
  const answer: Verification = { verified: 0, bytes: 0, bad: [], away: [] };
  const limits = new Map<number, ReturnType<typeof pLimit>>();
  const away = new Map<number, string>();
  const read = async (blob: Looked, device: DeviceState) => {
    const verdict = await inspect(parts.nodes, device, blob);
    if (verdict === 'unknown') {
      away.set(device.id, `${nameDevice(device, device.id)} did not read a copy when it was asked to`);
      return;
    }
    answer.verified++;
    answer.bytes += blob.size;
    if (verdict === 'good') return;
    // It is looked at again before it counts as bad: it may have been removed meanwhile.
    if (!onlyLook && !(await reportBad(parts, blob.fid, device.id, verdict))) return;
    const name = await findName(db, blob.fid);
    const { domain = null, key = null } = name ?? {};
    answer.bad.push({ fid: blob.fid, device: device.id, domain, key, what: verdict });
  };
  await Promise.all(
    page.flatMap((blob) =>
      blob.devices.map((id) => {
        const device = state.device(id);
        if (!device?.readable) {
          away.set(id, `${nameDevice(device, id)} ${whyUnreadable(device)}`);
          return undefined;
        }
        const limit = limits.get(id) ?? pLimit(READS_A_DEVICE);
        limits.set(id, limit);
        return limit(read, blob, device);
      }),
    ),
  );
  answer.away = [...away].map(([device, why]) => ({ device, why }));
  const last = page.at(-1)?.fid;
  const more = page.length < rows.length || rows.length === LOOKED_AT;
  return { ...answer, ...(more && last !== undefined ? { next: last } : {}) };
}

/** The first blobs, until their replicas have `bytes` bytes; one at least. */
function upTo(rows: Looked[], bytes: number): Looked[] {
  let sum = 0;
  const end = rows.findIndex(({ size, devices }) => {
    sum += size * devices.length;
    return sum >= bytes;
  });
  return end < 0 ? rows : rows.slice(0, end + 1);
}
