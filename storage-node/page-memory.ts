// Memory that begins on a page, as direct reads and writes want it (open(2), O_DIRECT), and Buffers do not.

const PAGE = 64 * 1024;

/** Bytes that are read or written at once where a blob is not done in one go. */
export const PIECE = 512 * 1024;
/** What the place and the length of a direct read or write must be multiples of, on all disks there are. */
export const SECTOR = 4096;

// TypeScript knows it in browsers only.
declare const WebAssembly: { Memory: new (size: { initial: number }) => { buffer: ArrayBuffer } };

/** So many buffers of `size` bytes, a multiple of 64 KiB. What of them is not touched takes no memory. */
export function pageBuffers(count: number, size: number): Buffer[] {
  // The memory of a WebAssembly module begins on a page; nothing else in Node is known to.
  const { buffer } = new WebAssembly.Memory({ initial: (count * size) / PAGE });
  return Array.from({ length: count }, (_, i) => Buffer.from(buffer, i * size, size));
}
