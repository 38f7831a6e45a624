// Sends one body to several devices at the same time. A small body is held in memory, so that another device can take
// the place of one that fails; a large one streams to all, and those that fail are made up for by copies afterwards.
import { PassThrough, type Readable } from 'node:stream';
import type { DeviceState } from '../cluster/state.ts';
import { type Placing, Stalled } from './placing.ts';

export interface FanOutTimes {
  /** A small body that a device has not stored after so long goes to another one. */
  answerMs: number;
  /** No device is tried any more after so long. */
  giveUpMs: number;
  /** How long the answer waits for further copies when there are enough to acknowledge. */
  lingerMs: number;
  /** A device that takes nothing of a large body for so long is cut off. */
  stallMs: number;
  /** How long a device may take to make a large body durable, once it has all of it. */
  syncMs: number;
}

const times: FanOutTimes = {
  answerMs: 5_000,
  giveUpMs: 20_000,
  lingerMs: 1_000,
  stallMs: 10_000,
  syncMs: 60_000,
};

/** Bytes that may wait for one device, so that devices need not be in step. */
const LANE_BYTES = 512 * 1024;

/** Sends `bytes` to the chosen devices, and to others for those that fail. */
export async function sendWhole(
  placing: Placing,
  bytes: Buffer,
  { answerMs, giveUpMs, lingerMs } = times,
): Promise<void> {
  const { copies, minCopies } = placing.order.class;
  const started = performance.now();
  // Only where acknowledging with fewer than all copies is allowed can a straggler be left behind.
  const enough = copies > minCopies ? new AbortController() : undefined;
  let timer: NodeJS.Timeout | undefined;
  const lane = async (first: DeviceState) => {
    for (let device: DeviceState | undefined = first; device !== undefined; ) {
      const how = { body: bytes, timeoutMs: answerMs, signal: enough?.signal };
      if (await placing.put(device, how)) break;
      const waited = performance.now() - started;
      if (waited > giveUpMs || (placing.enough && waited > lingerMs)) break;
      device = placing.next(1)[0];
    }
    if (placing.enough && enough !== undefined) {
      timer ??= setTimeout(() => enough.abort(new Stalled('it was slower than the others')), lingerMs);
    }
  };
  await Promise.all(placing.places.map(lane));
  clearTimeout(timer);
}

/**
 * Streams `head` and then `body` to the chosen devices at the speed of the slowest that still moves.
 * @throws what `body` fails with (a truncated request, say), body-too-large, or the reason why no device is left; then
 * all devices were made to forget what they had
 */
export async function sendStream(
  placing: Placing,
  head: Buffer[],
  body: Readable,
  { stallMs, syncMs } = times,
): Promise<void> {
  const lanes = placing.places.map((device) => new Lane(placing, device, stallMs, syncMs));
  let size = 0;
  const feed = async (chunk: Buffer) => {
    size += chunk.length;
    if (size > placing.max) throw placing.tooLarge();
    const full: Promise<void>[] = [];
    for (const lane of lanes) {
      const drained = lane.write(chunk);
      if (drained !== undefined) full.push(drained);
    }
    if (full.length > 0) await Promise.all(full);
    if (!lanes.some((lane) => lane.open)) throw placing.failure();
  };
  try {
    for (const chunk of head) await feed(chunk);
    // The request must outlive a failure here, or its answer could not be sent.
    for await (const chunk of body.iterator({ destroyOnReturn: false })) await feed(chunk);
  } catch (error) {
    for (const lane of lanes) lane.cut(error as Error);
    await Promise.all(lanes.map((lane) => lane.done));
    throw error;
  }
  for (const lane of lanes) lane.end();
  await Promise.all(lanes.map((lane) => lane.done));
}

/** The stream to one device. It closes by itself if the device fails; the others go on. */
class Lane {
  open = true;
  /** Resolves when the device has answered, or has failed. */
  readonly done: Promise<void>;
  readonly #device: DeviceState;
  readonly #placing: Placing;
  readonly #stallMs: number;
  readonly #stream = new PassThrough({ highWaterMark: LANE_BYTES });
  readonly #cut = new AbortController();

  constructor(placing: Placing, device: DeviceState, stallMs: number, syncMs: number) {
    this.#placing = placing;
    this.#device = device;
    this.#stallMs = stallMs;
    this.#stream.on('error', () => {});
    const how = { body: this.#stream, timeoutMs: syncMs, signal: this.#cut.signal };
    this.done = placing.put(device, how).then(() => {
      this.open = false;
      this.#stream.destroy();
    });
  }

  /** Undefined if there is room for more, else resolves when there is, or when the device was given up. */
  write(chunk: Buffer): Promise<void> | undefined {
    if (!this.open || this.#stream.destroyed || this.#stream.write(chunk)) return undefined;
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.cut(new Stalled('it took no more bytes')), this.#stallMs);
      const go = () => {
        clearTimeout(timer);
        this.#stream.off('drain', go).off('close', go);
        resolve();
      };
      this.#stream.on('drain', go).on('close', go);
    });
  }

  end(): void {
    if (!this.open) return;
    this.#placing.sent(this.#device);
    this.#stream.end();
  }

  cut(reason: Error): void {
    this.#cut.abort(reason);
    this.#stream.destroy();
  }
}
