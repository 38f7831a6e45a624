// POST …/copy: pulls a blob from another node, verifies it, and stores it.
import { request as fetchFrom } from 'undici';
import type { FastifyReply, FastifyRequest } from '../services/http.ts';
import { Problem } from '../services/problems.ts';
import type { CopyOrder } from '../services/protocol.ts';
import type { CopyTicket } from '../services/tickets.ts';
import type { Content } from './blob-store.ts';
import { SMALL } from './body.ts';
import { type NodeContext, permit, signReceipt } from './context.ts';
import type { Device } from './device.ts';
import { reason } from './inspection.ts';
import { reserve } from './upload.ts';

/** The source, not our disk, is to blame: the next one may do better. */
export class SourceFailed extends Error {}

/**
 * Stores the ticket's blob from the first source that yields it whole: 201 with a receipt, or 200 if it was there.
 * @throws Problem ticket-refused, device-unavailable, insufficient-storage, blob-differs, no-good-replica
 */
export async function copy(node: NodeContext, request: FastifyRequest, reply: FastifyReply) {
  const { ticket, device } = permit(node, 'copy', request);
  device.assertWritable();
  const { sources } = request.body as CopyOrder;
  const space = await reserve(device, ticket.size);
  try {
    const answer = (existed: boolean) =>
      reply.code(existed ? 200 : 201).send(signReceipt(node, ticket, ticket));
    // The order may be repeated because its answer was lost.
    if (await device.attempt('write', ticket.fid, () => device.store.confirm(ticket.fid, ticket))) {
      return answer(true);
    }
    const failures: string[] = [];
    for (const source of sources) {
      try {
        const { existed } = await pull(node, device, ticket, source, request.id);
        device.assertWritable();
        if (!existed) {
          space.used(ticket.size);
          device.changed(ticket.fid, 1);
          node.metrics.bytes.inc({ direction: 'received' }, ticket.size);
        }
        return answer(existed);
      } catch (error) {
        if (!(error instanceof SourceFailed)) throw error;
        failures.push(`${place(source)}: ${error.message}`);
      }
    }
    throw new Problem('no-good-replica', `No source yields blob ${ticket.fid}. ${failures.join('; ')}.`);
  } finally {
    space.release();
  }
}

async function pull(node: NodeContext, device: Device, ticket: CopyTicket, source: string, id: string) {
  const { fid, size, sha256 } = ticket;
  const answer = await ask(node, source, id);
  const accept = (content: Content) => {
    if (content.sha256 === sha256 && content.size === size) return;
    throw new SourceFailed('it sent other bytes than the blob has');
  };
  const pieces = bounded(answer.body, size);
  try {
    return await device.attempt('write', fid, async () => {
      const body = size <= SMALL ? await gathered(pieces) : pieces;
      return await device.store.put(fid, body, { binding: ticket, accept, direct: true });
    });
  } finally {
    answer.body.destroy();
  }
}

/** Asks a source for what its URL names. @throws SourceFailed */
export async function ask(node: NodeContext, source: string, id: string) {
  try {
    const headers = { 'x-request-id': id };
    const answer = await fetchFrom(source, { dispatcher: node.agent, headers });
    if (answer.statusCode === 200) return answer;
    await answer.body.dump();
    throw new SourceFailed(`it answered ${answer.statusCode}`);
  } catch (error) {
    throw error instanceof SourceFailed ? error : new SourceFailed(reason(error));
  }
}

/** The source's bytes, but no more than the blob has. */
async function* bounded(body: AsyncIterable<Buffer>, size: number): AsyncGenerator<Buffer> {
  let seen = 0;
  try {
    for await (const chunk of body) {
      seen += chunk.length;
      if (seen > size) throw new SourceFailed('it sent more bytes than the blob has');
      yield chunk;
    }
  } catch (error) {
    throw error instanceof SourceFailed ? error : new SourceFailed(reason(error));
  }
}

async function gathered(pieces: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of pieces) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** A source as it may be shown: without its ticket. */
export function place(source: string): string {
  return URL.parse(source)?.host ?? 'a malformed URL';
}
