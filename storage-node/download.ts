// GET and HEAD of a blob. Small blobs are read and verified whole before the first byte is sent, and kept in memory;
// large ones are verified while they are sent, with the last piece kept back until the digest is known to be right; and
// their ranges block by block.
import { createHash, hash } from 'node:crypto';
import { Readable } from 'node:stream';
import { evaluateConditions, rangeApplies } from '../services/conditions.ts';
import { etagOf } from '../services/digests.ts';
import type { FastifyReply, FastifyRequest } from '../services/http.ts';
import { Problem } from '../services/problems.ts';
import { answerRanges, type ByteRange, rangeNotSatisfiable, selectRanges } from '../services/ranges.ts';
import type { GetTicket } from '../services/tickets.ts';
import type { OpenBlob } from './blob-store.ts';
import { BLOCK, blockIsRight } from './checksums.ts';
import { type NodeContext, permitGet } from './context.ts';
import type { Device } from './device.ts';

/** Blobs up to this are verified before they are sent, and may be kept in memory. */
const WHOLE = 1024 * 1024;

/** What one download is about. */
interface Wanted {
  node: NodeContext;
  device: Device;
  ticket: GetTicket;
}

/**
 * Answers 200, 206, 304, 412 or 416 (RFC 9110), with the headers that the ticket carries.
 * @throws Problem ticket-refused, device-unavailable, replica-missing, replica-corrupt, precondition-failed,
 *   range-not-satisfiable
 */
export async function download(node: NodeContext, request: FastifyRequest, reply: FastifyReply) {
  const { ticket, device } = permitGet(node, request);
  device.assertReadable();
  const { size, sha256 } = ticket;
  const etag = etagOf(sha256);
  const headers: Record<string, string> = { ...ticket.headers, etag, 'accept-ranges': 'bytes' };
  const modified = headers['last-modified'];
  const validators = { etag, lastModified: modified === undefined ? undefined : new Date(modified) };
  const verdict = evaluateConditions(request.headers, validators);
  if (verdict === 'not-modified') return reply.code(304).headers(headers).send();
  if (verdict === 'precondition-failed') {
    throw new Problem('precondition-failed', undefined, { headers: { etag } });
  }
  const wanted = { node, device, ticket };
  if (request.method === 'HEAD') {
    await assertThere(wanted);
    return reply.headers({ ...headers, 'content-length': String(size) }).send();
  }
  const ranges = rangeApplies(request.headers, validators)
    ? selectRanges(request.headers.range, size)
    : undefined;
  if (ranges === 'unsatisfiable') throw rangeNotSatisfiable(size);
  return await (size <= WHOLE ? sendSmall : sendLarge)(wanted, headers, ranges, reply);
}

async function sendSmall(
  wanted: Wanted,
  headers: Record<string, string>,
  ranges: ByteRange[] | undefined,
  reply: FastifyReply,
) {
  const bytes = await smallBlob(wanted);
  const { bytes: counter } = wanted.node.metrics;
  if (ranges === undefined) {
    counter.inc({ direction: 'sent' }, bytes.length);
    headers['content-length'] = String(bytes.length);
    return reply.headers(headers).send(bytes);
  }
  const answer = answerRanges(ranges, bytes.length, headers['content-type']);
  counter.inc({ direction: 'sent' }, answer.length);
  const body = answer.body(async function* ({ start, end }) {
    yield bytes.subarray(start, end + 1);
  });
  return reply
    .code(206)
    .headers({ ...headers, ...answer.headers })
    .send(stream(body));
}

/** A small blob from memory, or from the disk and then verified. */
async function smallBlob(wanted: Wanted): Promise<Buffer> {
  const { node, device, ticket } = wanted;
  const { fid, size, sha256 } = ticket;
  const cached = node.cache.get(device.id, fid, sha256);
  if (cached !== undefined) return cached;
  const keep = node.cache.reading(device.id, fid);
  const bytes = await device.attempt('read', fid, () => device.store.readWhole(fid, size));
  if (bytes === undefined || hash('sha256', bytes, 'hex') !== sha256) throw corrupt(wanted);
  keep(sha256, bytes);
  return bytes;
}

async function sendLarge(
  wanted: Wanted,
  headers: Record<string, string>,
  ranges: ByteRange[] | undefined,
  reply: FastifyReply,
) {
  const blob = await openLarge(wanted);
  const { size } = wanted.ticket;
  wanted.device.active++;
  const done = () => {
    wanted.device.active--;
    blob.close();
  };
  if (ranges === undefined) {
    const body = stream(counted(wanted, verified(wanted, blob))).once('close', done);
    return reply.headers({ ...headers, 'content-length': String(size) }).send(body);
  }
  const answer = answerRanges(ranges, size, headers['content-type']);
  const parts = answer.body((range) => checkedRange(wanted, blob, range));
  return reply
    .code(206)
    .headers({ ...headers, ...answer.headers })
    .send(stream(counted(wanted, parts)).once('close', done));
}

async function assertThere(wanted: Wanted): Promise<void> {
  const { node, device, ticket } = wanted;
  if (node.cache.get(device.id, ticket.fid, ticket.sha256) === undefined) (await openLarge(wanted)).close();
}

/** Opens a blob, if its size is what the ticket says. */
async function openLarge(wanted: Wanted): Promise<OpenBlob> {
  const { device, ticket } = wanted;
  const blob = await device.attempt('read', ticket.fid, () => device.store.openBlob(ticket.fid));
  if (blob.size === ticket.size) return blob;
  blob.close();
  throw corrupt(wanted);
}

/** All of a blob, one piece late, so that a replica with a wrong digest is never sent to its end. */
async function* verified(wanted: Wanted, blob: OpenBlob): AsyncGenerator<Buffer> {
  const digest = createHash('sha256');
  let held: Buffer | undefined;
  for await (const piece of explained(wanted, blob.read({ start: 0, end: blob.size - 1 }))) {
    if (held !== undefined) yield held;
    digest.update(piece);
    held = piece;
  }
  if (digest.digest('hex') !== wanted.ticket.sha256) throw corrupt(wanted);
  if (held !== undefined) yield held;
}

/**
 * The bytes of a range. Each block that it touches is read whole, and nothing of it is sent unless its checksum is right.
 * A blob of an older version has no checksums yet: its range is sent as it is, and the scrub looks at the blob soon.
 */
async function* checkedRange(
  wanted: Wanted,
  blob: OpenBlob,
  { start, end }: ByteRange,
): AsyncGenerator<Buffer> {
  const { device, ticket } = wanted;
  const table = await device.journal.checksums(ticket.fid, ticket.sha256).catch(() => undefined);
  if (table === undefined) {
    device.doubt(ticket.fid);
    yield* explained(wanted, blob.read({ start, end }));
    return;
  }
  let block = Math.floor(start / BLOCK);
  const blocks = {
    start: block * BLOCK,
    end: Math.min(blob.size, (Math.floor(end / BLOCK) + 1) * BLOCK) - 1,
  };
  for await (const bytes of explained(wanted, blob.read(blocks, BLOCK))) {
    if (!blockIsRight(table, block, bytes)) throw corrupt(wanted);
    const offset = block * BLOCK;
    yield bytes.subarray(Math.max(0, start - offset), Math.min(bytes.length, end + 1 - offset));
    block++;
  }
}

/** The same pieces; an error of the disk becomes a finding on its way. */
async function* explained({ device, ticket }: Wanted, pieces: AsyncIterable<Buffer>) {
  try {
    yield* pieces;
  } catch (error) {
    throw await device.explain('read', ticket.fid, error);
  }
}

async function* counted({ node }: Wanted, pieces: AsyncIterable<Uint8Array>) {
  for await (const piece of pieces) {
    node.metrics.bytes.inc({ direction: 'sent' }, piece.length);
    yield piece;
  }
}

/** Not in object mode, where a Readable would fetch sixteen pieces ahead. */
function stream(pieces: AsyncIterable<Uint8Array>): Readable {
  return Readable.from(pieces, { objectMode: false, highWaterMark: 64 * 1024 });
}

function corrupt({ node, device, ticket }: Wanted): Problem {
  const { fid } = ticket;
  node.findings.add(device.id, fid, 'corrupt');
  device.doubt(fid);
  node.log.error({ device: device.id, fid }, 'a replica does not match its digest');
  return new Problem(
    'replica-corrupt',
    `Device ${device.id} holds blob ${fid} with wrong bytes; ask another device.`,
  );
}
