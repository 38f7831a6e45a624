// Repairs many blobs at once, as a lost device wants it: one look at all of them, one order to each device that shall
// get some, one transaction for what came of it. That is for the plain case (small, a good copy that can be read, a
// place for a new one); everything else, and whatever goes wrong, is left to repair.ts, blob by blob.
import { randomUUID } from 'node:crypto';
import pLimit from 'p-limit';
import { failPoint } from '../../services/fail-points.ts';
import { MANY_BYTES } from '../../services/protocol.ts';
import { choosePlaces } from '../cluster/placement.ts';
import type { Statement } from '../database/database.ts';
import type { BoundBlob } from '../transfer/node-client.ts';
import { addCopies, type Made, settleRepairs } from './copies-many.ts';
import { type Named, nameOf } from './names.ts';
import { type Parts, readableDevices } from './parts.ts';
import { type Claim, LEASE_SECONDS, renewLeases } from './queue.ts';
import { repair, wishFor } from './repair.ts';
import { countHosts } from './standing.ts';
import { judge, type Survey, surveyWhere } from './survey.ts';

/** Blobs of a batch that are looked at one by one at the same time. */
const SINGLES_AT_ONCE = 8;

type NamedSurvey = Survey & Named;

const surveyBlobs: Statement = {
  name: 'repair-many-survey',
  text: `SELECT s.*, name.* FROM (${surveyWhere('b.fid = ANY ($1::bigint[]) AND b.size <= $2')}) AS s
    JOIN ${nameOf('s.fid')} AS name ON true`,
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
  const { db, state, meters, watch } = parts;
  failPoint('repair-claimed');
  const surveys = await db.query<NamedSurvey>(surveyBlobs, [[...open.keys()], MANY_BYTES]);
  const orders = planOrders(parts, surveys);
  const answers = await Promise.all([...orders].map(([id, order]) => send(parts, id, order, signal)));
  const made = answers.flat();
  if (made.length === 0) return;
  failPoint('repair-copied');
  const added = await addCopies(db, made, [...watch.missed]);
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
function planOrders(parts: Parts, surveys: NamedSurvey[]): Map<number, Order> {
  const { state } = parts;
  const orders = new Map<number, Order>();
  const load = new Map<number, number>();
  for (const survey of surveys) {
    const { fid, size, sha256, want } = survey;
    const { good, staying } = judge(parts, survey);
    const [source] = good
      .flatMap(({ device }) => state.device(device) ?? [])
      .filter((device) => device.readable && !state.isSuspect(device.id))
      .sort((a, b) => (load.get(a.id) ?? 0) - (load.get(b.id) ?? 0));
    const missing = want - countHosts(staying);
    if (source === undefined || missing <= 0) continue;
    const places = choosePlaces(state, { ...wishFor(survey, staying, new Set(), false), copies: missing });
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
