// Repairs one blob: looks where its replicas are, has another device pull a copy until there are enough, and takes away
// what is bad or too many. Every step is decided anew from the database, so a worker may stop anywhere and another go on.
import { randomUUID } from 'node:crypto';
import { failPoint } from '../../services/fail-points.ts';
import { Problem, type ProblemName } from '../../services/problems.ts';
import type { Binding } from '../../services/tickets.ts';
import { choosePlaces, type Wish } from '../cluster/placement.ts';
import type { DeviceState } from '../cluster/state.ts';
import { addCopy, clearBadCopy, markGood, settleRepair } from './copies.ts';
import { inspect, reportBad } from './findings.ts';
import { findName } from './names.ts';
import { nameDevice, type Parts, readableDevices } from './parts.ts';
import {
  type Claim,
  finishRepair,
  LEASE_SECONDS,
  postponeRepair,
  releaseRepair,
  renewLeases,
} from './queue.ts';
import { whyCopyIsAway, whyNoSource, whyNoTarget } from './reasons.ts';
import { countHosts, type Replica } from './standing.ts';
import { judge, type Survey, surveyOf } from './survey.ts';
import { trimSurplus } from './trim.ts';

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
    const survey = await surveyOf(db, claim.fid);
    // What nothing names is the reaper's.
    const name = survey && (await findName(db, claim.fid));
    if (survey === undefined || name === undefined) return finishRepair(db, claim);
    const standing = judge(parts, survey);
    const { good, staying, crowded, surplus } = standing;
    const sources = good.flatMap(({ device }) => state.device(device) ?? []).filter((d) => d.readable);
    progress.copies = countHosts(sources.map(({ host }) => ({ host: host.id })));
    const short = countHosts(staying) < survey.want;
    const wish = wishFor(survey, staying, tried, !short);
    const [target] = short || crowded ? choosePlaces(state, wish) : [];
    if (!short && target === undefined) {
      const readable = staying.filter(({ device }) => state.device(device)?.readable);
      if (countHosts(readable) < survey.want) throw new Waits(whyCopyIsAway(parts, staying));
      if (surplus.length === 0) return settleRepair(db, claim, readableDevices(state));
      const kept = await trimSurplus(parts, survey, standing, signal);
      if (kept !== undefined) throw new Waits(kept);
    } else if (sources.length === 0) {
      if (!(await reviveBadCopy(parts, survey))) throw new Waits(whyNoSource(parts, survey));
    } else if (target === undefined) {
      await makeRoom(parts, survey, staying, sources, signal);
      throw new Waits(progress.failure ?? whyNoTarget(parts, survey, staying, wish));
    } else {
      tried.add(target.id);
      const failure = await copyTo(parts, survey, name, target, sources, signal);
      if (failure !== undefined) progress.failure = failure;
    }
  }
}

/**
 * Where the next copy goes: another host than those that stay, and no device that has a row for the blob. In another
 * zone, if that is all that is missing.
 */
export function wishFor(
  { size, locations, spreadZones }: Survey,
  staying: Replica[],
  tried: ReadonlySet<number>,
  otherZone: boolean,
): Wish {
  const takenZones = new Set(staying.map(({ zone }) => zone));
  return {
    copies: 1,
    size,
    spread: spreadZones ? 'zone' : 'host',
    takenZones,
    excludeHosts: new Set(staying.map(({ host }) => host)),
    excludeDevices: new Set([...tried, ...locations.map(({ device }) => device)]),
    ...(otherZone ? { fits: ({ host }: DeviceState) => !takenZones.has(host.zone) } : {}),
  };
}

/**
 * If a device could take the copy but for the bad one that it holds, that one is given up, and its place is free once
 * the remover is done. Only after a good copy was verified just now.
 */
async function makeRoom(
  { db, state, nodes, log }: Parts,
  { fid, size, sha256, locations }: Survey,
  staying: Replica[],
  sources: DeviceState[],
  signal: AbortSignal,
): Promise<void> {
  const bad = locations.find(
    (one) =>
      one.state === 'bad' &&
      state.device(one.device)?.writable &&
      staying.every(({ host }) => host !== one.host),
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
export async function copyTo(
  parts: Parts,
  { fid, size, sha256, spreadZones }: Survey,
  binding: Binding,
  target: DeviceState,
  sources: DeviceState[],
  signal: AbortSignal,
): Promise<string | undefined> {
  const { nodes, db, state, log, meters, throttle, watch } = parts;
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
    const beside = { uncounted: [...watch.missed], spreadZones };
    const addition = await addCopy(db, fid, target.id, provenAt, beside);
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
