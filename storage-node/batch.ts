// Several small blobs in one request, as trackers send them: what a request costs by itself (its head, a ticket, an
// answer, a turn of the event loop) is shared by all of them. Each is stored, or refused, by itself.
import { hash } from 'node:crypto';
import {
  type FastifyReply,
  type FastifyRequest,
  failUnlessAnswered,
  worthLogging,
} from '../services/http.ts';
import { Problem } from '../services/problems.ts';
import type { BatchEntry, BatchResult } from '../services/protocol.ts';
import type { PutManyTicket } from '../services/tickets.ts';
import { announcedLength, gather, tooLarge } from './body.ts';
import { deviceOf, type NodeContext } from './context.ts';
import { keep, refuseMismatch, reserve } from './upload.ts';

/**
 * Stores the blobs that the body's manifest lists; the ticket signs the manifest. Answers 200 with a result for each,
 * in order: what was stored, durably, or the problem that `upload` would have answered with.
 * @throws Problem ticket-refused, body-too-large, truncated-body; nothing is kept then
 */
export async function storeBatch(node: NodeContext, request: FastifyRequest, reply: FastifyReply) {
  try {
    const ticket = node.keyring.check('put-many', (request.query as { ticket?: string }).ticket);
    const length = announcedLength(request);
    if (length === undefined || length > ticket.size) throw tooLarge(ticket.size);
    const parts = unpack(ticket, await gather(request, length));
    const store = async ([entry, bytes]: Part) => {
      const began = performance.now();
      const result = await storeOne(node, entry, bytes, request);
      logBlob(node, entry, result, { ms: performance.now() - began, request });
      return result;
    };
    return reply.send(await Promise.all(parts.map(store)));
  } catch (error) {
    return failUnlessAnswered(reply, error);
  }
}

type Part = [BatchEntry, Buffer];

function unpack(ticket: PutManyTicket, body: Buffer): Part[] {
  const manifest = body.subarray(0, ticket.manifest);
  if (hash('sha256', manifest, 'hex') !== ticket.sha256) {
    throw new Problem('ticket-refused', 'The ticket is for another list of blobs.');
  }
  let at = ticket.manifest;
  const parts = (JSON.parse(manifest.toString()) as BatchEntry[]).map((entry): Part => {
    const start = at;
    at += entry.size;
    return [entry, body.subarray(start, at)];
  });
  if (at !== body.length) throw new Problem('truncated-body');
  return parts;
}

async function storeOne(
  node: NodeContext,
  entry: BatchEntry,
  bytes: Buffer,
  request: FastifyRequest,
): Promise<BatchResult> {
  try {
    const device = deviceOf(node, entry.dev);
    device.assertWritable();
    const space = await reserve(device, entry.size);
    try {
      const accept = (content: { sha256: string }) => refuseMismatch(content, entry.sha256);
      const { size, sha256 } = await keep(node, device, entry, bytes, accept);
      space.used(size);
      return { size, sha256 };
    } finally {
      space.release();
    }
  } catch (error) {
    const problem = error instanceof Problem ? error : new Problem('internal');
    if (problem.status >= 500) request.log.error({ id: entry.id, fid: entry.fid, err: error }, 'not stored');
    return problem.toJSON();
  }
}

/** A blob of a batch is logged when a request of its own would be, by the id of the request that it is part of. */
function logBlob(
  node: NodeContext,
  { id, fid, dev: device }: BatchEntry,
  result: BatchResult,
  { ms, request }: { ms: number; request: FastifyRequest },
): void {
  const status = 'status' in result ? result.status : 200;
  if (!worthLogging(node.config.CISTERN_LOG_REQUESTS, status, ms)) return;
  request.log.info({ id, fid, device, status, ms, batch: request.id }, 'blob of a batch');
}
