// GET …/contents: several small blobs in one answer, for another node that copies them. They are not verified here: the
// node that stores them does that, and it must do it anyway.
import { once } from 'node:events';
import { Readable } from 'node:stream';
import pLimit from 'p-limit';
import type { FastifyReply, FastifyRequest } from '../services/http.ts';
import { MANY_BYTES } from '../services/protocol.ts';
import { type NodeContext, permit } from './context.ts';
import type { Device } from './device.ts';
import { HEAD, writeHead } from './frames.ts';

/** Blobs that are read from the disk at once. */
const AHEAD = 8;

/** What is sent at once: as many blobs as a slab holds. It holds the largest, and one byte (see `readInto`). */
const SLAB = HEAD + MANY_BYTES + 1;
/** Slabs that are kept for the next answers: new ones for each would keep V8's garbage collector busy. */
const KEPT = 24;
const kept: Buffer[] = [];

type Wanted = readonly [fid: number, size: number];

/** The parts of a slab that are to be sent, and how many bytes of blobs are in them. */
interface Filled {
  parts: Buffer[];
  bytes: number;
}

/**
 * Sends the ticket's blobs in its order (frames.ts).
 * @throws Problem ticket-refused, device-unavailable
 */
export async function readMany(node: NodeContext, request: FastifyRequest, reply: FastifyReply) {
  const { ticket, device } = permit(node, 'read-many', request);
  device.assertReadable();
  const slabs: Buffer[] = [];
  const body = Readable.from(contents(node, device, ticket.blobs, slabs), { objectMode: false });
  // Only then nothing is read into them any more, and nothing of them waits to be sent.
  Promise.all([once(body, 'close'), once(reply.raw, 'close')]).then(
    () => kept.push(...slabs.slice(0, KEPT - kept.length)),
    () => {},
  );
  return reply.type('application/octet-stream').send(body);
}

/** One slab is filled while the one before is sent. */
async function* contents(node: NodeContext, device: Device, blobs: readonly Wanted[], slabs: Buffer[]) {
  const fillNext = (group: Wanted[]) => {
    const slab = kept.pop() ?? Buffer.allocUnsafeSlow(SLAB);
    slabs.push(slab);
    return fill(device, group, slab);
  };
  let ahead: Promise<Filled> | undefined;
  try {
    for (const group of [...grouped(blobs), undefined]) {
      const filled: Filled | undefined = await ahead;
      ahead = group && fillNext(group);
      if (filled === undefined) continue;
      node.metrics.bytes.inc({ direction: 'sent' }, filled.bytes);
      yield* filled.parts;
    }
  } finally {
    await ahead;
  }
}

/** The same blobs, in groups that a slab holds. */
function grouped(blobs: readonly Wanted[]): Wanted[][] {
  const groups: Wanted[][] = [];
  let free = 0;
  for (const blob of blobs) {
    const needed = HEAD + blob[1];
    if (needed > free) {
      groups.push([]);
      free = SLAB - 1;
    }
    free -= needed;
    groups.at(-1)?.push(blob);
  }
  return groups;
}

/** Reads blobs into a slab. It does not fail. */
async function fill(device: Device, group: Wanted[], slab: Buffer): Promise<Filled> {
  const limit = pLimit(AHEAD);
  let place = HEAD;
  const reads = group.map(([fid, size]) => {
    const start = place;
    place += size + HEAD;
    return limit(() => read(device, fid, slab.subarray(start, start + size + 1)));
  });
  const readable = await Promise.all(reads);
  // Heads come last: the byte that a read has beyond its blob is in the next one's.
  const parts: Buffer[] = [];
  let [from, at, bytes] = [0, 0, 0];
  for (const [i, [fid, size]] of group.entries()) {
    const there = readable[i] === true;
    writeHead(slab, at, fid, there ? size : undefined);
    at += HEAD;
    if (there) bytes += size;
    else parts.push(slab.subarray(from, at));
    at += size;
    if (!there) from = at;
  }
  if (at > from) parts.push(slab.subarray(from, at));
  return { parts, bytes };
}

/** False if the blob is not there, has another size, or cannot be read; `attempt` has noted that. */
function read(device: Device, fid: number, place: Buffer): Promise<boolean> {
  return device.attempt('read', fid, () => device.store.readInto(fid, place)).catch(() => false);
}
