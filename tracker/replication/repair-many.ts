// Repairs many blobs at once, as a lost device wants it: one look at all of them, one order to each device that shall
// get some, one transaction for what came of it. That is for the plain case (small, a good copy that can be read, a
// place for a new one); everything else, and whatever goes wrong, is left to repair.ts, blob by blob.
import { randomUUID } from 'node:crypto';
import pLimit from 'p-limit';
import { failPoint } from '../../services/fail-points.ts';
import { MANY_BYTES } from '../../services/protocol.ts';
import { choosePlaces } from '../cluster/placement.ts';
import type { DeviceState } from '../cluster/state.ts';
import type { Statement } from '../database/database.ts';
import type { BoundBlob } from '../transfer/node-client.ts';
import { addCopies, type Made, settleRepairs } from './copies-many.ts';
import { nameOf } from './names.ts';
import { type Parts, readableDevices } from './parts.ts';
import { type Claim, LEASE_SECONDS, renewLeases } from './queue.ts';
import { repair } from './repair.ts';

/** Blobs of a batch that are looked at one by one at the same time. */
const SINGLES_AT_ONCE = 8;

interface Survey {
  fid: number;
  want: number;
  size: number;
  sha256: string;
  domain: string;
  key: string;
  class: string;
  locations: {
    device: number;
    host: number;
    state: 'good' | 'bad' | 'removing';
    use: DeviceState['state'];
  }[];
}

const surveyBlobs: Statement = {
  name: 'repair-many-survey',
  text: `SELECT b.fid, b.want, b.size, encode(b.sha256, 'hex') AS sha256, name.*, (
      SELECT json_agg(json_build_object('device', l.device_id, 'host', d.host_id, 'state', l.state, 'use', d.state))
      FROM locations l JOIN devices d ON d.id = l.device_id WHERE l.fid = b.fid) AS locations
    FROM blobs b JOIN ${nameOf('b.fid')} AS name ON true
    WHERE b.fid = ANY ($1::bigint[]) AND b.state = 'live' AND b.size <= $2
      AND EXISTS (SELECT FROM locations l WHERE l.fid = b.fid)`,
};

/** Repairs what was claimed as far as that is possible now. Throws only if the database is away. */
export async function repairMany(parts: Parts, claims: Claim[], signal: AbortSignal): Promise<void> {
  const { db, log } = parts;
  const open = new Map(claims.map((claim) => [claim.fid, claim]));
  const renewal = setInterval(
    () => void renewLeases(db, [...open.keys()]).catch((err) => log.debug({ err }, 'leases not renewed')),
    (LEASE_SECONDS * 1000) / 3,
  );
  try {
    if (claims.length > 1) await mendPlain(parts, open, signal);
    const limit = pLimit(SINGLES_AT_ONCE);
    const single = async (claim: Claim) => {
      await repair(parts, claim, signal);
      open.delete(claim.fid);
    };
    await Promise.all([...open.values()].map((claim) => limit(single, claim)));
  } finally {
    clearInterval(renewal);
  }
}

/** Takes from `open` what needs nothing more. */
async function mendPlain(parts: Parts, open: Map<number, Claim>, signal: AbortSignal): Promise<void> {
  const { db, state, meters } = parts;
  failPoint('repair-claimed');
  const surveys = await db.query<Survey>(surveyBlobs, [[...open.keys()], MANY_BYTES]);
  const orders = planOrders(parts, surveys);
  const answers = await Promise.all([...orders].map(([id, order]) => send(parts, id, order, signal)));
  const made = answers.flat();
  if (made.length === 0) return;
  failPoint('repair-copied');
  const added = await addCopies(db, made);
  failPoint('repair-added');
  const sizes = new Map(surveys.map(({ fid, size }) => [fid, size]));
  for (const fid of added) meters.copiedBytes.inc(sizes.get(fid) ?? 0);
  const fids = new Set(made.map(({ fid }) => fid));
  const done = await settleRepairs(
    db,
    [...open.values()].filter(({ fid }) => fids.has(fid)),
    readableDevices(state),
  );
  meters.repaired.inc(done.size);
  for (const fid of done) open.delete(fid);
}

/** What one device shall pull, by source. */
type Order = Map<number, BoundBlob[]>;

/** Chooses sources and places for what is plain. Sources get equal shares of a batch. */
function planOrders({ state }: Parts, surveys: Survey[]): Map<number, Order> {
  const orders = new Map<number, Order>();
  const load = new Map<number, number>();
  for (const survey of surveys) {
    const { fid, size, sha256, want, locations } = survey;
    const good = locations.filter((one) => one.state === 'good' && one.use !== 'dead');
    const staying = new Set(good.filter(({ use }) => use !== 'drain').map(({ host }) => host));
    const [source] = good
      .flatMap(({ device }) => state.device(device) ?? [])
      .filter((device) => device.readable && !state.isSuspect(device.id))
      .sort((a, b) => (load.get(a.id) ?? 0) - (load.get(b.id) ?? 0));
    if (source === undefined || staying.size >= want) continue;
    const places = choosePlaces(state, {
      copies: want - staying.size,
      size,
      excludeHosts: staying,
      excludeDevices: new Set(locations.map(({ device }) => device)),
    });
    const binding = { domain: survey.domain, key: survey.key, class: survey.class };
    for (const { id } of places) {
      load.set(source.id, (load.get(source.id) ?? 0) + size);
      const order: Order = orders.get(id) ?? new Map();
      orders.set(id, order.set(source.id, [...(order.get(source.id) ?? []), { fid, size, sha256, binding }]));
    }
  }
  return orders;
}

/** Sends one device its order. Answers with what it holds now; what failed is looked at one by one. */
async function send(
  { nodes, state, log, throttle }: Parts,
  target: number,
  order: Order,
  signal: AbortSignal,
): Promise<Made[]> {
  const device = state.device(target);
  const sources = [...order].flatMap(([id, blobs]) => {
    const source = state.device(id);
    return source === undefined ? [] : [{ source, blobs }];
  });
  if (device === undefined || sources.length === 0) return [];
  const requestId = `repair-${randomUUID()}`;
  const fields = { id: requestId, device: target, host: device.host.name };
  const blobs = sources.flatMap((one) => one.blobs);
  throttle.spend(blobs.reduce((sum, { size }) => sum + size, 0));
  try {
    const { copied, failed } = await nodes.copyMany(device, { sources, requestId, signal });
    log.debug({ ...fields, copied: copied.length, failed: failed.length }, 'copied many');
    if (failed.length > 0) log.warn({ ...fields, failed: failed.length, first: failed[0] }, 'copies failed');
    const asked = new Set(blobs.map(({ fid }) => fid));
    return copied
      .filter(({ fid }) => asked.has(fid))
      .map(({ fid, at }) => ({ fid, device: target, provenAt: at - device.host.clockOffsetMs }));
  } catch (error) {
    signal.throwIfAborted();
    log.warn({ ...fields, why: (error as Error).message }, 'an order for many copies failed');
    return [];
  }
}
