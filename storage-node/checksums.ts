// CRC-32 of each MiB of a blob: what lets a range be checked without reading all of it.
import { crc32 } from 'node:zlib';

/** Bytes that one checksum covers; the last one of a blob covers what is left. */
export const BLOCK = 1024 * 1024;

/** Takes a blob's bytes as they come and checksums each block. */
export class BlockChecksums {
  readonly #finished: number[] = [];
  #crc = 0;
  #filled = 0;

  update(bytes: Uint8Array): void {
    for (let taken = 0; taken < bytes.length; ) {
      const part = bytes.subarray(taken, taken + BLOCK - this.#filled);
      this.#crc = crc32(part, this.#crc);
      this.#filled += part.length;
      taken += part.length;
      if (this.#filled === BLOCK) this.#close();
    }
  }

  /** Four bytes for each block, big-endian. */
  finish(): Buffer {
    if (this.#filled > 0) this.#close();
    const table = Buffer.allocUnsafe(this.#finished.length * 4);
    for (const [block, crc] of this.#finished.entries()) table.writeUInt32BE(crc, block * 4);
    return table;
  }

  #close(): void {
    this.#finished.push(this.#crc);
    this.#crc = 0;
    this.#filled = 0;
  }
}

/** True if `bytes` are the block of that number, by a table that `BlockChecksums` made. */
export function blockIsRight(table: Buffer, block: number, bytes: Uint8Array): boolean {
  return block * 4 + 4 <= table.length && table.readUInt32BE(block * 4) === crc32(bytes);
}
