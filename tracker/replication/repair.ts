// Repairs one blob: looks where its replicas are, has another device pull a copy until there are enough, and cleans up
// what was bad. Every step is decided anew from the database, so a worker may stop anywhere and another go on.
import { randomUUID } from 'node:crypto';
import { failPoint } from '../../services/fail-points.ts';
import { Problem, type ProblemName } from '../../services/problems.ts';
import type { Binding } from '../../services/tickets.ts';
import { choosePlaces, placementProblem } from '../cluster/placement.ts';
import type { DeviceState } from '../cluster/state.ts';
import type { Statement } from '../database/database.ts';
import { addCopy, clearBadCopy, markGood, settleRepair } from './copies.ts';
import { inspect, reportBad } from './findings.ts';
import { findName } from './names.ts';
import { nameDevice, type Parts, readableDevices, whyUnreadable } from './parts.ts';
import {
  type Claim,
  finishRepair,
  LEASE_SECONDS,
  postponeRepair,
  releaseRepair,
  renewLeases,
} from './queue.ts';

interface Survey {
  fid: number;
  want: number;
  size: number;
  sha256: string;
  locations: { device: number; host: number; state: 'good' | 'bad' | 'removing'; dead: boolean }[];
}

const surveyBlob: Statement = {
  name: 'repair-survey',
  text: `SELECT b.fid, b.want, b.size, encode(b.sha256, 'hex') AS sha256, coalesce((
      SELECT json_agg(json_build_object('device', l.device_id, 'host', d.host_id, 'state', l.state, 'dead', d.state = 'dead'))
      FROM locations l JOIN devices d ON d.id = l.device_id WHERE l.fid = b.fid), '[]') AS locations
    FROM blobs b WHERE b.fid = $1 AND b.state = 'live'`,
};

/** Why a repair must wait; a sentence for the operator. */
class Waits extends Error {}

interface Progress {
  /** Hosts with a good copy that can be read now. */
  copies: number;
  /** Why the last copy could not be made. */
  failure?: string;
}

// With these the target says that no source gave it the right bytes.
const sourcesFailed: ReadonlySet<unknown> = new Set<ProblemName>([
  'no-good-replica',
  'replica-missing',
  'replica-corrupt',
  'digest-mismatch',
]);

/** Repairs a claimed blob as far as that is possible now, and gives the claim back. Never throws for the blob's sake. */
export async function repair(parts: Parts, claim: Claim, signal: AbortSignal): Promise<void> {
  const { db, log, meters } = parts;
  const renewal = setInterval(
    () => void renewLeases(db, [claim.fid]).catch((err) => log.debug({ err }, 'lease not renewed')),
    (LEASE_SECONDS * 1000) / 3,
  );
  const progress: Progress = { copies: 0 };
  try {
    failPoint('repair-claimed');
    if (await mend(parts, claim, progress, signal)) meters.repaired.inc();
    else await releaseRepair(db, claim.fid);
  } catch (error) {
    // A stopping tracker gives the claim back as it is.
    if (signal.aborted) return await releaseRepair(db, claim.fid);
    if (error instanceof Problem && error.problem === 'database-unavailable') throw error;
    const why = error instanceof Error ? error.message : String(error);
    if (!(error instanceof Waits)) log.warn({ fid: claim.fid, err: error }, 'repair failed');
    meters.failed.inc();
    await postponeRepair(db, claim, progress.copies, why);
  } finally {
    clearInterval(renewal);
  }
}

/** True if the blob needs nothing more; false if there was a new need meanwhile. Throws Waits, or what went wrong. */
async function mend(parts: Parts, claim: Claim, progress: Progress, signal: AbortSignal): Promise<boolean> {
  const { db, state } = parts;
  const tried = new Set<number>();
  for (;;) {
    signal.throwIfAborted();
    const [survey] = await db.query<Survey>(surveyBlob, [claim.fid]);
    // What nothing names is the reaper's.
    const name = survey && (await findName(db, claim.fid));
    if (survey === undefined || name === undefined) return finishRepair(db, claim);
    const good = survey.locations.filter((one) => one.state === 'good' && !one.dead);
    const sources = good.flatMap(({ device }) => parts.state.device(device) ?? []).filter((d) => d.readable);
    progress.copies = hosts(good.filter(({ device }) => sources.some((source) => source.id === device)));
    if (hosts(good) >= survey.want) {
      if (progress.copies < survey.want) throw new Waits(whyCopyIsAway(parts, good));
      return settleRepair(db, claim, readableDevices(state));
    }
    if (sources.length === 0) {
      if (!(await reviveBadCopy(parts, survey))) throw new Waits(whyNoSource(parts, survey));
      continue;
    }
    const target = chooseTarget(parts, survey, good, tried);
    if (target === undefined) {
      await makeRoom(parts, survey, good, sources, signal);
      throw new Waits(progress.failure ?? whyNoTarget(parts, survey, good));
    }
    tried.add(target.id);
    const failure = await copyTo(parts, survey, name, target, sources, signal);
    if (failure !== undefined) progress.failure = failure;
  }
}

function hosts(locations: { host: number }[]): number {
  return new Set(locations.map(({ host }) => host)).size;
}

/** Where the next copy goes: another host than the good ones, and no device that has a row for the blob. */
function wishFor({ size, locations }: Survey, good: Survey['locations'], tried: ReadonlySet<number>) {
  return {
    copies: 1,
    size,
    excludeHosts: new Set(good.map(({ host }) => host)),
    excludeDevices: new Set([...tried, ...locations.map(({ device }) => device)]),
  };
}

function chooseTarget(
  { state }: Parts,
  survey: Survey,
  good: Survey['locations'],
  tried: ReadonlySet<number>,
): DeviceState | undefined {
  return choosePlaces(state, wishFor(survey, good, tried))[0];
}

/**
 * If a device could take the copy but for the bad one that it holds, that one is given up, and its place is free once
 * the remover is done. Only after a good copy was verified just now.
 */
async function makeRoom(
  { db, state, nodes, log }: Parts,
  { fid, size, sha256, locations }: Survey,
  good: Survey['locations'],
  sources: DeviceState[],
  signal: AbortSignal,
): Promise<void> {
  const bad = locations.find(
    (one) =>
      one.state === 'bad' &&
      state.device(one.device)?.writable &&
      good.every(({ host }) => host !== one.host),
  );
  if (bad === undefined) return;
  for (const source of sources) {
    const verdict = await inspect(nodes, source, { fid, size, sha256 }, signal);
    if (verdict !== 'good') continue;
    const cleared = await clearBadCopy(db, fid, bad.device, source.id);
    if (cleared) log.info({ fid, device: bad.device }, 'a bad copy is removed to make room for a good one');
    const name = nameDevice(state.device(bad.device), bad.device);
    throw new Waits(`the bad copy on ${name} is being removed first`);
  }
}

/** Has the target pull a copy. Answers with why that failed, if it did. */
async function copyTo(
  parts: Parts,
  { fid, size, sha256 }: Survey,
  binding: Binding,
  target: DeviceState,
  sources: DeviceState[],
  signal: AbortSignal,
): Promise<string | undefined> {
  const { nodes, db, state, log, meters, throttle } = parts;
  const requestId = `repair-${randomUUID()}`;
  // Sources that failed just now come last; the target asks them in turn.
  const ordered = sources.toSorted((a, b) => Number(state.isSuspect(a.id)) - Number(state.isSuspect(b.id)));
  try {
    const order = { fid, size, sha256, binding, sources: ordered, requestId, signal };
    throttle.spend(size);
    const receipt = await nodes.copy(target, order);
    const part = receipt.parts.find(({ dev }) => dev === target.id);
    if (part === undefined || receipt.size !== size || receipt.sha256 !== sha256) {
      throw new Error(`${nameDevice(target, target.id)} answered with a receipt for other bytes`);
    }
    const provenAt = part.at - target.host.clockOffsetMs;
    failPoint('repair-copied');
    const addition = await addCopy(db, fid, target.id, provenAt);
    failPoint('repair-added');
    if (addition === 'added') meters.copiedBytes.inc(size);
    log.debug({ id: requestId, fid, size, device: target.id, host: target.host.name, addition }, 'copied');
    return undefined;
  } catch (error) {
    if (signal.aborted || (error as Problem).problem === 'database-unavailable') throw error;
    const why = error instanceof Error ? error.message : String(error);
    log.warn({ id: requestId, fid, device: target.id, host: target.host.name, why }, 'copy failed');
    // Sources whose replica proves bad count no longer, from the next survey on.
    if (sourcesFailed.has((error as Problem).problem)) {
      for (const source of sources) await reportBad(parts, fid, source.id, 'corrupt', signal);
    }
    return `${nameDevice(target, target.id)} could not copy it: ${why}`;
  }
}

/** No good copy is left that can be read. A bad one may have become readable again: look, before all is given up. */
async function reviveBadCopy({ nodes, state, db, log }: Parts, survey: Survey): Promise<boolean> {
  for (const { device: id, state: known } of survey.locations) {
    const device = state.device(id);
    if (known !== 'bad' || !device?.readable) continue;
    if ((await inspect(nodes, device, survey)) !== 'good') continue;
    log.warn({ fid: survey.fid, device: id }, 'a copy that was bad is good again');
    return markGood(db, survey.fid, id);
  }
  return false;
}

function whyCopyIsAway({ state }: Parts, good: Survey['locations']): string {
  const away = good.find(({ device }) => !state.device(device)?.readable);
  if (away === undefined) return 'its copies are being looked at';
  const device = state.device(away.device);
  return `a copy is on ${nameDevice(device, away.device)}, which ${whyUnreadable(device)}`;
}

function whyNoTarget({ state }: Parts, survey: Survey, good: Survey['locations']): string {
  const leaving = survey.locations.find(
    (one) => one.state === 'removing' && good.every(({ host }) => host !== one.host),
  );
  if (leaving !== undefined) {
    return `a former copy on ${nameDevice(state.device(leaving.device), leaving.device)} is being removed first`;
  }
  const problem = placementProblem(state, wishFor(survey, good, new Set()), 1);
  return `no device can take another copy: ${problem.message}`;
}

function whyNoSource({ state }: Parts, { locations }: Survey): string {
  if (locations.length === 0) return 'no good copy is known';
  const each = locations.map(({ device: id, state: known }) => {
    const device = state.device(id);
    const why = device?.readable && known !== 'good' ? 'is corrupt or lost' : whyUnreadable(device);
    return device?.readable
      ? `the copy on ${nameDevice(device, id)} ${why}`
      : `${nameDevice(device, id)} ${why}`;
  });
  return `no good copy is reachable: ${each.join(', ')}`;
}
