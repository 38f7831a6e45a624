// Uploads through the tracker: from a request's body to a blob that enough devices hold durably. Naming it is the
// namespace's; whoever does not name a stored blob discards it.
import { hash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { failPoint } from '../../services/fail-points.ts';
import { Problem } from '../../services/problems.ts';
import type { ClassState, DomainState } from '../cluster/state.ts';
import type { Tracker } from '../tracker.ts';
import { sendStream, sendWhole } from './fan-out.ts';
import { type BlobOrder, Placing, type Stored } from './placing.ts';

/** Bodies up to this size are held in memory, so that they can be sent again to another device. */
export const WHOLE_BYTES = 256 * 1024;

export interface Incoming {
  domain: DomainState;
  key: string;
  class: ClassState;
  body: Readable;
  /** Bytes that the client announced, if it did. */
  length?: number | undefined;
  /** Most bytes that there can be, where the length is not known. */
  most?: number | undefined;
  /** The digest that the client announced, in hex. */
  sha256?: string | undefined;
  requestId: string;
}

/**
 * Stores a body on at least `minCopies` devices. When it throws, nothing is left, or what may be left is burned.
 * @throws Problem truncated-body, body-too-large, digest-mismatch, too-few-devices, insufficient-storage
 */
export async function storeBody(tracker: Tracker, incoming: Incoming): Promise<Stored> {
  const { body, length, requestId, domain, key } = incoming;
  const limit = tracker.config.CISTERN_MAX_UPLOAD_BYTES;
  if (length !== undefined && length > limit) throw tooLarge(limit);
  const streamed = length !== undefined && length > WHOLE_BYTES;
  const ahead = streamed ? { chunks: [], size: 0, ended: false } : await readAhead(body, WHOLE_BYTES);
  if (ahead.size > limit) throw tooLarge(limit);
  const whole = ahead.ended ? join(ahead.chunks) : undefined;
  if (whole !== undefined) checkDigest(whole, incoming.sha256);

  const send = async (placing: Placing) => {
    if (whole !== undefined) await sendWhole(placing, whole);
    else await sendStream(placing, ahead.chunks, body).catch((error) => throwFor(body, error));
  };
  const known = whole?.length ?? length;
  const max = known ?? Math.min(limit, incoming.most ?? limit);
  return place(
    tracker,
    { domain, key, class: incoming.class, requestId, sha256: incoming.sha256 },
    max,
    known,
    send,
  );
}

/** Bytes that are in memory, at most WHOLE_BYTES of them, and what they are for. */
export interface Small extends Pick<Incoming, 'domain' | 'key' | 'class' | 'sha256' | 'requestId'> {
  bytes: Buffer;
}

/**
 * Stores bytes that are in memory on at least `minCopies` devices.
 * @throws Problem digest-mismatch, too-few-devices, insufficient-storage
 */
export function storeBytes(tracker: Tracker, { bytes, ...what }: Small): Promise<Stored> {
  checkDigest(bytes, what.sha256);
  return place(tracker, what, bytes.length, bytes.length, (placing) => sendWhole(placing, bytes));
}

async function place(
  tracker: Tracker,
  what: Omit<Small, 'bytes'>,
  max: number,
  length: number | undefined,
  send: (placing: Placing) => Promise<void>,
): Promise<Stored> {
  const { domain, key, requestId, sha256 } = what;
  const order: BlobOrder = {
    fid: await tracker.fids.next(),
    binding: { domain: domain.name, key, class: what.class.name },
    class: what.class,
    max,
    length,
    sha256,
    requestId,
  };
  const placing = new Placing(tracker, order).begin();
  try {
    await send(placing);
    await placing.complete();
    failPoint('tracker-stored');
    const stored = placing.result();
    tracker.metrics.bytes.inc({ direction: 'received' }, stored.size);
    return stored;
  } catch (error) {
    await discard(tracker, [{ fid: order.fid, mayHold: placing.mayHold() }]);
    throw error;
  }
}

/** Burns blobs that will never be named, so that their replicas are removed. What cannot be burned, the sweep finds. */
export async function discard(tracker: Tracker, blobs: Pick<Stored, 'fid' | 'mayHold'>[]): Promise<void> {
  const burn = blobs.flatMap(({ fid, mayHold }) => (mayHold.length === 0 ? [] : [{ fid, devices: mayHold }]));
  if (burn.length === 0) return;
  try {
    await tracker.namespace.burn(burn);
  } catch (error) {
    const { message } = error as Error;
    tracker.log.warn({ fids: burn.map(({ fid }) => fid), why: message }, 'upload: could not burn');
  }
}

interface Ahead {
  chunks: Buffer[];
  size: number;
  /** The body has ended, so `chunks` are all of it. If not, it is paused. */
  ended: boolean;
}

/**
 * Reads a body to its end, or until more than `limit` bytes have come.
 * @throws Problem truncated-body if it breaks off
 */
export function readAhead(body: Readable, limit: number): Promise<Ahead> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const settle = () => body.off('data', data).off('end', end).off('error', fail).off('close', fail);
    const data = (chunk: Buffer) => {
      chunks.push(chunk);
      size += chunk.length;
      if (size <= limit) return;
      body.pause();
      settle();
      resolve({ chunks, size, ended: false });
    };
    const end = () => {
      settle();
      resolve({ chunks, size, ended: true });
    };
    const fail = (error?: Error) => {
      settle();
      reject(truncated(error));
    };
    body.on('data', data).on('end', end).on('error', fail).on('close', fail);
    if (body.destroyed) fail();
  });
}

function join(chunks: Buffer[]): Buffer {
  const [first] = chunks;
  return chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks);
}

function checkDigest(bytes: Buffer, announced: string | undefined): void {
  if (announced === undefined) return;
  const sha256 = hash('sha256', bytes, 'hex');
  if (sha256 === announced) return;
  throw new Problem(
    'digest-mismatch',
    `The digest announced is ${announced}, that of the body is ${sha256}.`,
  );
}

function throwFor(body: Readable, error: unknown): never {
  throw body.destroyed ? truncated(error) : error;
}

/** Why a body broke off: what we said ourselves, or else that the client went away. */
function truncated(error: unknown): Problem {
  if (error instanceof Problem) return error;
  return new Problem('truncated-body', 'The body broke off before its end. Nothing was stored.', {
    cause: error,
  });
}

/** Why a file of more than `limit` bytes is refused. */
export function tooLarge(limit: number): Problem {
  return new Problem('body-too-large', `A file may have at most ${limit} bytes.`);
}
