// Buffers that are used again. Memory that is new costs more than what is done with it: each of its pages is made at the
// first touch, and V8 collects garbage for the sake of buffers. Copying many blobs spent more time on that than on bytes.

/** Sizes are rounded up to powers of two, from this one on. */
const SMALLEST = 4096;
/** Bytes that are kept for the next ones; what is given back beyond that is left to the garbage collector. */
const KEPT_BYTES = 32 * 1024 * 1024;

const kept = new Map<number, Buffer[]>();
let keptBytes = 0;

/** A buffer of `size` bytes with whatever was in it before. Who has it alone may give it back. */
export function takeBuffer(size: number): Buffer {
  const whole = roundUp(size);
  const buffer = kept.get(whole)?.pop();
  if (buffer !== undefined) keptBytes -= whole;
  return (buffer ?? Buffer.allocUnsafeSlow(whole)).subarray(0, size);
}

/** The next `takeBuffer` may have it: nothing may read or write it any more, the kernel included. */
export function giveBuffer(buffer: Buffer): void {
  const whole = buffer.buffer.byteLength;
  if (buffer.byteOffset !== 0 || whole !== roundUp(whole)) throw new Error('not a buffer of takeBuffer');
  if (keptBytes + whole > KEPT_BYTES) return;
  keptBytes += whole;
  const others = kept.get(whole) ?? [];
  kept.set(whole, others);
  others.push(Buffer.from(buffer.buffer));
}

function roundUp(size: number): number {
  return Math.max(SMALLEST, 2 ** Math.ceil(Math.log2(Math.max(size, 1))));
}
