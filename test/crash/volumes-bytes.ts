// The bytes of a blob by its fid, of some length.
import { createHash } from 'node:crypto';

export function bytesOf(fid: number): Buffer {
  const digest = createHash('sha256').update(String(fid)).digest();
  return Buffer.alloc((digest.readUInt32BE() % 40_000) + 1, digest);
}
