// What a volume is made of: records, one behind the other. Each is a head of 64 bytes, the blob's bytes, and the
// journal's line about it, so that a volume alone says what its blobs are and what they were stored for.
//
//   0  'CISV'                       28  bytes of the line that follows the blob
//   4  CRC-32 of the head from 8 on 32  SHA-256 of the blob
//   8  fid (64 bits)                64  the blob, the line, zeros up to a multiple of 8
//   16 when it was stored (double, milliseconds since the epoch)
//   24 bytes of the blob
// Numbers are big-endian. The CRC begins with a number of the device's own, so that what looks like a record in the bytes of a
// blob, which anybody may have made, is not taken for one.
import { crc32 } from 'node:zlib';
import { type BlobRecord, formatLine } from '../journal-record.ts';

export const HEAD = 64;
/** Places of records are multiples of it. */
export const UNIT = 8;
export const MAGIC_BYTES = Buffer.from('CISV');
const MAGIC = MAGIC_BYTES.readUInt32BE(0);

export interface Head {
  fid: number;
  at: number;
  size: number;
  /** Bytes of the journal's line. */
  line: number;
  sha256: string;
}

/** A record as it is written: its parts, and how many bytes they are together. */
export interface Encoded {
  parts: Buffer[];
  length: number;
}

export function encode(record: BlobRecord, blob: readonly Buffer[], seed: number): Encoded {
  const line = Buffer.from(formatLine(record));
  const head = Buffer.alloc(HEAD);
  head.writeUInt32BE(MAGIC, 0);
  head.writeBigUInt64BE(BigInt(record.fid), 8);
  head.writeDoubleBE(record.at, 16);
  head.writeUInt32BE(record.size, 24);
  head.writeUInt32BE(line.length, 28);
  head.write(record.sha256, 32, 'hex');
  head.writeUInt32BE(crc32(head.subarray(8), seed), 4);
  const length = lengthOf({ size: record.size, line: line.length });
  const padding = Buffer.alloc(length - HEAD - record.size - line.length);
  return { parts: [head, ...blob, line, padding], length };
}

/** Undefined: there is no record here, or one that was torn or damaged. */
export function decodeHead(bytes: Buffer, seed: number): Head | undefined {
  if (bytes.length < HEAD || bytes.readUInt32BE(0) !== MAGIC) return undefined;
  if (bytes.readUInt32BE(4) !== crc32(bytes.subarray(8, HEAD), seed)) return undefined;
  return {
    fid: Number(bytes.readBigUInt64BE(8)),
    at: bytes.readDoubleBE(16),
    size: bytes.readUInt32BE(24),
    line: bytes.readUInt32BE(28),
    sha256: bytes.toString('hex', 32, HEAD),
  };
}

/** Bytes from a record's beginning to the next one's. */
export function lengthOf({ size, line }: Pick<Head, 'size' | 'line'>): number {
  return Math.ceil((HEAD + size + line) / UNIT) * UNIT;
}
