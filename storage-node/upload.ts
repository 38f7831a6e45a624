// PUT of a blob: to the disk, and at the same time to the next node of the chain.
import { announcedDigest, formatDigest } from '../services/digests.ts';
import { type FastifyReply, type FastifyRequest, failUnlessAnswered } from '../services/http.ts';
import { Problem } from '../services/problems.ts';
import type { Binding, PutTicket, Receipt } from '../services/tickets.ts';
import type { Content } from './blob-store.ts';
import { announcedLength, flow, gather, SMALL, tooLarge } from './body.ts';
import { type NodeContext, permit, signReceipt } from './context.ts';
import type { Device } from './device.ts';
import { Forward } from './forward.ts';
import type { Reservation } from './space.ts';

/**
 * Stores the body as the ticket's blob and answers with a receipt: 201, or 200 if the same bytes were there.
 * @throws Problem ticket-refused, device-unavailable, body-too-large, insufficient-storage, truncated-body,
 *   digest-mismatch, blob-differs; nothing is kept then
 */
export async function upload(node: NodeContext, request: FastifyRequest, reply: FastifyReply) {
  try {
    const { ticket, device } = permit(node, 'put', request);
    device.assertWritable();
    const { receipt, existed } = await store(node, request, ticket, device);
    return reply.code(existed ? 200 : 201).send(receipt);
  } catch (error) {
    return failUnlessAnswered(reply, error);
  }
}

async function store(node: NodeContext, request: FastifyRequest, ticket: PutTicket, device: Device) {
  const expected = announcedDigest(request.headers);
  const length = announcedLength(request);
  const max = Math.min(ticket.max, node.config.CISTERN_MAX_BLOB_BYTES);
  if (length !== undefined && length > max) throw tooLarge(max);
  const bound = Math.min(max, length ?? max);
  const space = await reserve(device, bound);
  const forward = chain(node, request, ticket, length, expected);
  try {
    const body =
      length !== undefined && length <= SMALL
        ? await gatherAndForward(request, length, forward)
        : flow(request, bound, (chunk) => {
            space.used(chunk.length);
            return forward?.write(chunk);
          });
    const accept = (content: Content) => {
      refuseMismatch(content, expected);
      forward?.end();
    };
    const stored = await keep(node, device, ticket, body, accept);
    if (Buffer.isBuffer(body)) space.used(body.length);
    const receipt = signReceipt(node, ticket, stored);
    if (forward !== undefined) await addParts(receipt, forward, request);
    return { receipt, existed: stored.existed };
  } catch (error) {
    forward?.abort();
    throw error;
  } finally {
    space.release();
  }
}

/** Puts a blob on the device, durably, and takes note of it. */
export async function keep(
  node: NodeContext,
  device: Device,
  blob: Binding & { fid: number },
  body: Buffer | AsyncIterable<Uint8Array>,
  accept: (content: Content) => void,
) {
  const stored = await device.attempt('write', blob.fid, () =>
    device.store.put(blob.fid, body, { binding: blob, accept }),
  );
  device.assertWritable();
  if (!stored.existed) device.changed(blob.fid, 1);
  node.metrics.bytes.inc({ direction: 'received' }, stored.size);
  return stored;
}

/** @throws Problem insufficient-storage */
export async function reserve(device: Device, bytes: number): Promise<Reservation> {
  const space = await device.space.reserve(bytes);
  if (space !== undefined) return space;
  throw new Problem(
    'insufficient-storage',
    `Device ${device.id} has ${Math.max(0, device.space.free)} bytes for uploads; this one may need ${bytes}.`,
  );
}

async function gatherAndForward(request: FastifyRequest, length: number, forward: Forward | undefined) {
  const body = await gather(request, length);
  await forward?.write(body);
  return body;
}

/** @throws Problem digest-mismatch */
export function refuseMismatch({ sha256 }: Pick<Content, 'sha256'>, expected: string | undefined): void {
  if (expected === undefined || expected === sha256) return;
  throw new Problem(
    'digest-mismatch',
    `The bytes that arrived have SHA-256 ${sha256}, not ${expected}; send them again.`,
  );
}

function chain(
  node: NodeContext,
  request: FastifyRequest,
  ticket: PutTicket,
  length: number | undefined,
  digest: string | undefined,
): Forward | undefined {
  if (ticket.next === undefined) return undefined;
  const headers = {
    'x-request-id': request.id,
    ...(length === undefined ? {} : { 'content-length': String(length) }),
    ...(digest === undefined ? {} : { 'repr-digest': formatDigest(digest) }),
  };
  return new Forward(ticket.next, headers, node.agent);
}

/** Adds what the next nodes hold. If they fail, the receipt has our part alone: never an error, never silent. */
async function addParts(receipt: Receipt, forward: Forward, request: FastifyRequest): Promise<void> {
  try {
    receipt.parts.push(...(await forward.parts(receipt)));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    request.log.warn({ id: request.id, fid: receipt.fid, why }, 'the next node of the chain failed');
  }
}
