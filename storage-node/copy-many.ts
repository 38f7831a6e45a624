// POST …/copies: pulls many small blobs from other nodes, verifies and stores each. One order and one request to each
// source instead of two requests a blob.
import { hash } from 'node:crypto';
import pLimit from 'p-limit';
import type { FastifyRequest } from '../services/http.ts';
import { Problem } from '../services/problems.ts';
import type { CopiedMany, CopyManyOrder } from '../services/protocol.ts';
import { type NodeContext, permit } from './context.ts';
import { ask, place, SourceFailed } from './copy.ts';
import type { Device } from './device.ts';
import { framesOf } from './frames.ts';
import { reason } from './inspection.ts';
import { reserve } from './upload.ts';

/** Blobs that are being written at once: one fsync of a directory then serves several. */
const WRITES = 32;

type Ordered = CopyManyOrder['sources'][number]['blobs'][number];

/**
 * Stores the order's blobs as far as that is possible: what failed is said of each, and nothing of it exists.
 * @throws Problem ticket-refused, device-unavailable, insufficient-storage
 */
export async function copyMany(node: NodeContext, request: FastifyRequest): Promise<CopiedMany> {
  const { ticket, device } = permit(node, 'copy-many', request);
  const { sources } = request.body as CopyManyOrder;
  if (hash('sha256', JSON.stringify({ sources })) !== ticket.order) {
    throw new Problem('ticket-refused', 'The ticket is for another order.');
  }
  device.assertWritable();
  const all = sources.flatMap(({ blobs }) => blobs);
  const space = await reserve(
    device,
    all.reduce((sum, { size }) => sum + size, 0),
  );
  const answer: CopiedMany = { copied: [], failed: [] };
  const write = pLimit(WRITES);
  try {
    await Promise.all(
      sources.map((source) =>
        pullFrom(node, source, request.id, (blob, pieces) =>
          write(async () => {
            try {
              if (!(await store(node, device, blob, pieces))) space.used(blob.size);
              answer.copied.push({ fid: blob.fid, at: Date.now() });
            } catch (error) {
              answer.failed.push({ fid: blob.fid, why: (error as Error).message });
            }
          }),
        ).then((failed) => answer.failed.push(...failed)),
      ),
    );
    return answer;
  } finally {
    space.release();
  }
}

/** Gives `take` each blob that comes, and waits for it while too many are in memory. Answers with those that did not. */
async function pullFrom(
  node: NodeContext,
  { url, blobs }: CopyManyOrder['sources'][number],
  id: string,
  take: (blob: Ordered, pieces: Buffer[]) => Promise<void>,
): Promise<CopiedMany['failed']> {
  const missing = new Map(blobs.map((blob) => [blob.fid, blob]));
  const taken = new Set<Promise<void>>();
  let why = 'it cannot read it';
  try {
    const { body } = await ask(node, url, id);
    for await (const { fid, pieces } of framesOf(body, (one) => missing.get(one)?.size)) {
      const blob = missing.get(fid);
      if (blob === undefined || pieces === undefined) continue;
      missing.delete(fid);
      const done: Promise<void> = take(blob, pieces).finally(() => taken.delete(done));
      taken.add(done);
      if (taken.size >= 2 * WRITES) await Promise.race(taken);
    }
  } catch (error) {
    why = error instanceof SourceFailed ? error.message : reason(error);
  }
  await Promise.all(taken);
  return [...missing.keys()].map((fid) => ({ fid, why: `${place(url)}: ${why}` }));
}

/** True if the same bytes were there already. */
async function store(node: NodeContext, device: Device, blob: Ordered, pieces: Buffer[]): Promise<boolean> {
  const { fid, size, sha256, domain, key, class: className } = blob;
  const accept = (content: { size: number; sha256: string }) => {
    if (content.sha256 === sha256 && content.size === size) return;
    throw new Problem('digest-mismatch', `The source sent other bytes than blob ${fid} has.`);
  };
  const binding = { domain, key, class: className };
  const { existed } = await device.attempt('write', fid, () =>
    device.store.put(fid, pieces, { binding, accept, direct: true }),
  );
  device.assertWritable();
  if (existed) return true;
  device.changed(fid, 1);
  node.metrics.bytes.inc({ direction: 'received' }, size);
  return false;
}
