// One stream to several places at once, in memory no more than a piece of it. A place that fails is left behind.
import { createHash } from 'node:crypto';
import { PassThrough, type Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { Content } from '../transfer/node-client.ts';

/** Takes the stream to its end and says what it then holds durably. */
export type Sink = (body: Readable) => Promise<Content>;

interface Branch {
  body: PassThrough;
  held: Promise<Content>;
  failure?: unknown;
}

/**
 * Sends `source` to all sinks at the pace of the slowest.
 * @returns what was sent, and for each sink undefined if it holds just that, else why not
 * @throws what the source fails with; no sink then keeps anything
 */
export async function tee(
  source: AsyncIterable<Buffer>,
  sinks: Sink[],
): Promise<{ content: Content; failures: unknown[] }> {
  const branches = sinks.map(branchTo);
  const digest = createHash('sha256');
  let size = 0;
  try {
    for await (const piece of source) {
      digest.update(piece);
      size += piece.length;
      await Promise.all(branches.map((branch) => send(branch, piece)));
    }
  } catch (error) {
    for (const { body } of branches) body.destroy(error as Error);
    await Promise.allSettled(branches.map(({ held }) => held));
    throw error;
  }
  for (const { body } of branches) body.end();
  const content = { size, sha256: digest.digest('hex') };
  return { content, failures: await Promise.all(branches.map((branch) => failureOf(branch, content))) };
}

function branchTo(sink: Sink): Branch {
  const body = new PassThrough({ highWaterMark: 256 * 1024 });
  body.on('error', () => undefined);
  const branch: Branch = { body, held: sink(body) };
  branch.held.catch((error) => {
    branch.failure = error;
    body.destroy();
  });
  return branch;
}

async function send({ body }: Branch, piece: Buffer): Promise<void> {
  if (body.destroyed || body.write(piece)) return;
  await new Promise<void>((resolve) => {
    const go = () => {
      body.off('drain', go).off('close', go);
      resolve();
    };
    body.once('drain', go).once('close', go);
  });
}

async function failureOf({ held, body }: Branch, content: Content): Promise<unknown> {
  try {
    const there = await held;
    if (there.sha256 === content.sha256 && there.size === content.size) return undefined;
    return new Error('it holds other bytes than were sent');
  } catch (error) {
    return error;
  } finally {
    if (!body.destroyed) await finished(body.resume()).catch(() => undefined);
  }
}
