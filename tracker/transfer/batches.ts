// Small blobs that go to the same host at about the same time share a request. Few requests are under way to each
// host; what comes meanwhile gathers for the next. So the more there is to do, the less each blob costs.
import { problemFrom } from '../../services/problems.ts';
import type { BatchEntry, BatchResult } from '../../services/protocol.ts';
import type { DeviceState } from '../cluster/state.ts';
import { Batcher } from '../database/batcher.ts';
import type { BlobRef, PutOrder } from './node-client.ts';

/** Larger blobs have a request of their own: what that costs is little beside their bytes. */
const SMALL_BYTES = 64 * 1024;
const MOST_BLOBS = 32;
const UNDER_WAY = 2;

type Small = PutOrder & { body: Buffer };

/** The body of one request: the manifest, and then the bytes of all blobs. */
export interface Batch {
  manifest: Buffer;
  body: Buffer;
  /** How many blobs. */
  count: number;
  timeoutMs: number | undefined;
  requestId: string | undefined;
}

/** Sends a batch; answers with a result for each blob, in order. */
export type Send = (device: DeviceState, batch: Batch) => Promise<BatchResult[]>;

export function isSmall(order: PutOrder): order is Small {
  return Buffer.isBuffer(order.body) && order.body.length <= SMALL_BYTES;
}

export class Batches {
  readonly #send: Send;
  readonly #batchers = new Map<number, Batcher<[DeviceState, Small], BlobRef>>();

  constructor(send: Send) {
    this.#send = send;
  }

  /** Stores a small blob on a device. Throws the node's Problem, what `send` throws, or its signal's reason. */
  put(device: DeviceState, order: Small): Promise<BlobRef> {
    const answer = this.#batcher(device.host.id).add([device, order]);
    const { signal } = order;
    if (signal === undefined) return answer;
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      answer.then(resolve, reject);
    });
  }

  #batcher(id: number) {
    const known = this.#batchers.get(id);
    if (known !== undefined) return known;
    const run = async (items: [DeviceState, Small][]) => {
      const [[device]] = items as [[DeviceState, Small]];
      try {
        const results = await this.#send(device, pack(items));
        return items.map(([, order], i) => outcome(order, results[i]));
      } catch (error) {
        // What waited behind it goes to another device now, and not after a time-out of its own.
        made.dropWaiting(error);
        throw error;
      }
    };
    const made = new Batcher(run, { size: MOST_BLOBS, concurrency: UNDER_WAY });
    this.#batchers.set(id, made);
    return made;
  }
}

function pack(items: [DeviceState, Small][]): Batch {
  const entries = items.map(([{ id: dev }, { fid, body, binding, sha256, requestId: id }]): BatchEntry => {
    return { dev, fid, size: body.length, ...binding, sha256, id };
  });
  const manifest = Buffer.from(JSON.stringify(entries));
  const body = Buffer.concat([manifest, ...items.map(([, order]) => order.body)]);
  const [[, { timeoutMs, requestId }]] = items as [[DeviceState, Small]];
  return { manifest, body, count: items.length, timeoutMs, requestId };
}

function outcome({ fid }: Small, result: BatchResult | undefined): BlobRef | Error {
  const problem = problemFrom(result);
  if (problem !== undefined) return problem;
  const { size, sha256 } = result as { size: number; sha256: string };
  return { fid, size, sha256 };
}
