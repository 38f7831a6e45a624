// GET …/contents: several small blobs in one answer, for another node that copies them. They are not verified here: the
// node that stores them does that, and it must do it anyway.
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from '../services/http.ts';
import { type NodeContext, permit } from './context.ts';
import type { Device } from './device.ts';
import { frameHead } from './frames.ts';

/** Blobs that are read from the disk at once. */
const AHEAD = 4;

/**
 * Sends the ticket's blobs in its order (frames.ts).
 * @throws Problem ticket-refused, device-unavailable
 */
export async function readMany(node: NodeContext, request: FastifyRequest, reply: FastifyReply) {
  const { ticket, device } = permit(node, 'read-many', request);
  device.assertReadable();
  const body = Readable.from(contents(node, device, ticket.blobs), { objectMode: false });
  return reply.type('application/octet-stream').send(body);
}

async function* contents(node: NodeContext, device: Device, blobs: readonly [fid: number, size: number][]) {
  const reads: Promise<Buffer | undefined>[] = [];
  for (const [i, [fid]] of blobs.entries()) {
    for (const [ahead, size] of blobs.slice(reads.length, i + AHEAD)) reads.push(read(device, ahead, size));
    const bytes = await reads[i];
    yield frameHead(fid, bytes);
    if (bytes === undefined || bytes.length === 0) continue;
    node.metrics.bytes.inc({ direction: 'sent' }, bytes.length);
    yield bytes;
    // What was sent need not be kept until the end.
    reads[i] = Promise.resolve(undefined);
  }
}

/** Undefined if the blob is not there, has another size, or cannot be read; `attempt` has noted that. */
async function read(device: Device, fid: number, size: number): Promise<Buffer | undefined> {
  return await device.attempt('read', fid, () => device.store.readWhole(fid, size)).catch(() => undefined);
}
