// Many small blobs in one body: for each a head of 16 bytes (fid and size, both 64 bits, big-endian), then its bytes.
// A size of all ones says that the blob cannot be read here. It costs a fraction of a request for each.
import { takeBuffer } from './buffers.ts';

export const HEAD = 16;
const UNREADABLE = 0xffff_ffff_ffff_ffffn;

export interface Frame {
  fid: number;
  /** Undefined: the sender cannot read it. */
  bytes: Buffer | undefined;
}

/** Writes the head of a blob into the first bytes of `frame`. @param size undefined: it cannot be read */
export function writeHead(frame: Buffer, fid: number, size: number | undefined): void {
  frame.writeBigUInt64BE(BigInt(fid), 0);
  frame.writeBigUInt64BE(size === undefined ? UNREADABLE : BigInt(size), 8);
}

/**
 * Takes a body apart. The frames' bytes may be given back (buffers.ts). @param sizeOf the size that a blob must have; undefined if it was not asked for
 * @throws Error if the body is not made so, or ends in the middle
 */
export async function* framesOf(
  body: AsyncIterable<Buffer>,
  sizeOf: (fid: number) => number | undefined,
): AsyncGenerator<Frame> {
  const head = Buffer.allocUnsafe(HEAD);
  let filled = 0;
  let fid = 0;
  let bytes: Buffer | undefined;
  for await (const chunk of body) {
    let at = 0;
    while (at < chunk.length) {
      if (bytes === undefined) {
        const part = chunk.copy(head, filled, at, at + HEAD - filled);
        at += part;
        filled += part;
        if (filled < HEAD) break;
        fid = Number(head.readBigUInt64BE(0));
        filled = 0;
        const size = head.readBigUInt64BE(8);
        if (size === UNREADABLE) {
          yield { fid, bytes: undefined };
          continue;
        }
        if (Number(size) !== sizeOf(fid)) throw new Error('it sent something else than was asked for');
        bytes = takeBuffer(Number(size));
      } else {
        const part = chunk.copy(bytes, filled, at);
        at += part;
        filled += part;
      }
      if (bytes === undefined || filled < bytes.length) continue;
      yield { fid, bytes };
      bytes = undefined;
      filled = 0;
    }
  }
  if (bytes !== undefined || filled > 0) throw new Error('it broke off');
}
