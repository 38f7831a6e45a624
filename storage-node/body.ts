// The body of an upload, as the store takes it: bounded, counted, and whole or refused.
import type { FastifyRequest } from '../services/http.ts';
import { Problem } from '../services/problems.ts';

/** Bodies up to this are gathered in memory and written at once. */
export const SMALL = 256 * 1024;

/** Content-Length in bytes; undefined if the body is chunked. */
export function announcedLength(request: FastifyRequest): number | undefined {
  const length = request.headers['content-length'];
  if (length !== undefined) return Number(length);
  return request.headers['transfer-encoding'] === undefined ? 0 : undefined;
}

/**
 * All of a small body. Node's parser has made sure that it is not longer than `length`, its Content-Length.
 * @throws Problem truncated-body
 */
export function gather(request: FastifyRequest, length: number): Promise<Buffer> {
  const { raw } = request;
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    raw.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      size += chunk.length;
    });
    raw.once('end', () => {
      if (size === length) resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, size));
      else reject(truncated());
    });
    raw.once('error', (error) => reject(error instanceof Problem ? error : truncated(error)));
    raw.once('close', () => {
      if (!raw.readableEnded) reject(truncated());
    });
    if (raw.destroyed) reject(truncated());
  });
}

/**
 * A large body, or one of unknown length, as it comes. `tap` sees every chunk before the store does.
 * @throws Problem truncated-body; body-too-large beyond `max` bytes
 */
export async function* flow(
  request: FastifyRequest,
  max: number,
  tap: (chunk: Buffer) => void | Promise<void>,
): AsyncGenerator<Buffer> {
  let size = 0;
  const chunks = request.raw.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
  try {
    for (;;) {
      const next = await chunks.next().catch((error: unknown) => {
        throw error instanceof Problem ? error : truncated(error);
      });
      if (next.done) return;
      size += next.value.length;
      if (size > max) throw tooLarge(max);
      await tap(next.value);
      yield next.value;
    }
  } finally {
    await chunks.return?.();
  }
}

export function tooLarge(max: number): Problem {
  return new Problem('body-too-large', `The body is larger than the ${max} bytes that are allowed here.`);
}

function truncated(cause?: unknown): Problem {
  return new Problem('truncated-body', undefined, { cause });
}
