// GET …/contents: several small blobs in one answer, for another node that copies them. They are not verified here: the
// node that stores them does that, and it must do it anyway.
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from '../services/http.ts';
import { giveBuffer, takeBuffer } from './buffers.ts';
import { type NodeContext, permit } from './context.ts';
import type { Device } from './device.ts';
import { HEAD, writeHead } from './frames.ts';

/** Blobs that are read from the disk at once. */
const AHEAD = 4;

/**
 * Sends the ticket's blobs in its order (frames.ts).
 * @throws Problem ticket-refused, device-unavailable
 */
export async function readMany(node: NodeContext, request: FastifyRequest, reply: FastifyReply) {
  const { ticket, device } = permit(node, 'read-many', request);
  device.assertReadable();
  const used: Buffer[] = [];
  // Until then the kernel may still read them. If the connection breaks, nobody knows, and they are left alone.
  reply.raw.once('finish', () => used.forEach(giveBuffer));
  const body = Readable.from(frames(node, device, ticket.blobs, used), { objectMode: false });
  return reply.type('application/octet-stream').send(body);
}

async function* frames(
  node: NodeContext,
  device: Device,
  blobs: readonly [fid: number, size: number][],
  used: Buffer[],
) {
  const reads: Promise<Buffer>[] = [];
  for (const i of blobs.keys()) {
    for (const [fid, size] of blobs.slice(reads.length, i + AHEAD)) {
      // readWhole wants room for one byte more.
      const buffer = takeBuffer(HEAD + size + 1);
      used.push(buffer);
      reads.push(frame(device, fid, size, buffer));
    }
    const bytes = (await reads[i]) as Buffer;
    node.metrics.bytes.inc({ direction: 'sent' }, bytes.length - HEAD);
    yield bytes;
  }
}

/** The frame of a blob; one without bytes if it is not there, has another size, or cannot be read: `attempt` has noted that. */
async function frame(device: Device, fid: number, size: number, buffer: Buffer): Promise<Buffer> {
  const read = () => device.store.readWhole(fid, size, buffer.subarray(HEAD));
  const bytes = await device.attempt('read', fid, read).catch(() => undefined);
  writeHead(buffer, fid, bytes?.length);
  return buffer.subarray(0, HEAD + (bytes?.length ?? 0));
}
