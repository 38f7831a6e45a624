// Many small blobs in one body: for each a head of 16 bytes (fid and size, both 64 bits, big-endian), then its bytes.
// A size of all ones says that the blob cannot be read here. It costs a fraction of a request for each.

export const HEAD = 16;
const UNREADABLE = 0xffff_ffff_ffff_ffffn;

export interface Frame {
  fid: number;
  /** Where its bytes lie, one part after the other; undefined: the sender cannot read it. */
  pieces: Buffer[] | undefined;
}

/** Writes the head that goes before so many bytes. @param size undefined if they cannot be read */
export function writeHead(into: Buffer, at: number, fid: number, size: number | undefined): void {
  into.writeBigUInt64BE(BigInt(fid), at);
  into.writeBigUInt64BE(size === undefined ? UNREADABLE : BigInt(size), at + 8);
}

/**
 * Takes a body apart, without copying its bytes. @param sizeOf the size that a blob must have; undefined if it was not asked for
 * @throws Error if the body is not made so, or ends in the middle
 */
export async function* framesOf(
  body: AsyncIterable<Buffer>,
  sizeOf: (fid: number) => number | undefined,
): AsyncGenerator<Frame> {
  const head = Buffer.allocUnsafe(HEAD);
  let filled = 0;
  let fid = 0;
  let left = 0;
  let pieces: Buffer[] | undefined;
  for await (const chunk of body) {
    let at = 0;
    while (at < chunk.length) {
      if (pieces === undefined) {
        const part = chunk.copy(head, filled, at, at + HEAD - filled);
        at += part;
        filled += part;
        if (filled < HEAD) break;
        filled = 0;
        fid = Number(head.readBigUInt64BE(0));
        const size = head.readBigUInt64BE(8);
        if (size === UNREADABLE) {
          yield { fid, pieces };
          continue;
        }
        if (Number(size) !== sizeOf(fid)) throw new Error('it sent something else than was asked for');
        pieces = [];
        left = Number(size);
      } else {
        const piece = chunk.subarray(at, at + left);
        pieces.push(piece);
        at += piece.length;
        left -= piece.length;
      }
      if (left > 0) continue;
      yield { fid, pieces };
      pieces = undefined;
    }
  }
  if (pieces !== undefined || filled > 0) throw new Error('it broke off');
}
