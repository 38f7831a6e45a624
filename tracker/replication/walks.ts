// Walks of devices whose replicas do not count, or no longer all: dead ones, drained ones, those that are missed, and
// once those that were missed and came back. By (device, fid), in batches, and never for the last time: a commit in
// flight may add a row behind a walk (hazard 10).
import type { DeviceState } from '../cluster/state.ts';
import { walkDeadDevice } from './dead.ts';
import { saveDrainProgress } from './drain.ts';
import { type Parts, reachOf } from './parts.ts';
import { scanDevice } from './scan.ts';

const BATCH = 1_000;
/** A walk that took long begins again only after so many times as long: the database has other things to do. */
const REST = 5;

type Why = 'dead' | 'drained' | 'missed' | 'returned';

interface Pass {
  why: Why;
  after: number;
  beganAt: number;
  replicas: number;
  bytes: number;
  notBefore: number;
}

export class Walks {
  readonly #parts: Parts;
  readonly #passes = new Map<number, Pass>();
  readonly #returned = new Set<number>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** These are to be walked once more: what was made instead of their replicas is too many now. */
  returned(ids: number[]): void {
    for (const id of ids) this.#returned.add(id);
  }

  /** Walks one batch of each device that is to be walked. */
  async step(): Promise<{ queued: number; more: boolean }> {
    const { state, log } = this.#parts;
    const sum = { queued: 0, more: false };
    for (const device of state.devices()) {
      const why = this.#why(device);
      if (why === undefined) this.#passes.delete(device.id);
      else {
        const { queued, more } = await this.#batch(device, why);
        sum.queued += queued;
        sum.more ||= more;
        if (queued > 0)
          log.info({ device: device.id, host: device.host.name, why, queued }, 'repairs queued');
      }
    }
    return sum;
  }

  #why({ id, state }: DeviceState): Why | undefined {
    if (state === 'dead') return 'dead';
    if (state === 'drain') return 'drained';
    if (this.#parts.watch.missed.has(id)) return 'missed';
    return this.#returned.has(id) ? 'returned' : undefined;
  }

  async #batch({ id }: DeviceState, why: Why): Promise<{ queued: number; more: boolean }> {
    const { db, state } = this.#parts;
    const pass = this.#pass(id, why);
    if (performance.now() < pass.notBefore) return { queued: 0, more: false };
    if (pass.after === 0) pass.beganAt = performance.now();
    const found =
      why === 'dead'
        ? await walkDeadDevice(db, id, pass.after)
        : await scanDevice(db, id, { after: pass.after, limit: BATCH, ...reachOf(state) });
    if ('scanned' in found) {
      pass.replicas += found.scanned;
      pass.bytes += found.bytes;
    }
    pass.after = found.next ?? 0;
    if (found.next === undefined) await this.#ended(id, pass);
    return { queued: found.queued, more: found.next !== undefined };
  }

  /** A device that is walked for another reason than before is walked from the beginning. */
  #pass(id: number, why: Why): Pass {
    const known = this.#passes.get(id);
    if (known?.why === why) return known;
    const pass = { why, after: 0, beganAt: 0, replicas: 0, bytes: 0, notBefore: 0 };
    this.#passes.set(id, pass);
    return pass;
  }

  async #ended(id: number, pass: Pass): Promise<void> {
    const { replicas, bytes, why } = pass;
    if (why === 'drained') await saveDrainProgress(this.#parts.db, id, { replicas, bytes });
    this.#returned.delete(id);
    const now = performance.now();
    Object.assign(pass, { replicas: 0, bytes: 0, notBefore: now + (now - pass.beganAt) * REST });
  }
}
