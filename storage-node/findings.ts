// Replicas that this node found to be bad or gone while serving them. Heartbeats carry them to the tracker until one
// was answered.
import type { Finding } from '../services/protocol.ts';

/** As many as one heartbeat may carry. */
const BATCH = 1_000;
/** More than this are forgotten: a whole disk that fails is told by its condition. */
const MOST = 10_000;

export class Findings {
  readonly #open = new Map<string, Finding>();

  add(dev: number, fid: number, kind: Finding['kind']): void {
    if (this.#open.size < MOST) this.#open.set(`${dev}/${fid}/${kind}`, { dev, fid, kind });
  }

  /** The oldest ones. Call `told` with them when the tracker has answered. */
  batch(): Finding[] {
    return [...this.#open.values()].slice(0, BATCH);
  }

  told(batch: Finding[]): void {
    for (const { dev, fid, kind } of batch) this.#open.delete(`${dev}/${fid}/${kind}`);
  }
}
