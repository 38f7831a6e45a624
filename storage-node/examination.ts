// What a blob's bytes on the disk are, and whether they are what they should be.
import { createHash } from 'node:crypto';
import type { KnownBlob } from '../services/protocol.ts';
import type { Content } from './blob-store.ts';
import { BLOCK, BlockChecksums } from './checksums.ts';
import { type Part, readDirect } from './direct-read.ts';
import type { BlobRecord } from './journal-record.ts';

/** What was read. */
export interface Examined {
  fid: number;
  size: number;
  sha256: string;
  /** Of a blob that is larger than one block: its checksums, base64. */
  crc?: string;
}

/** Reads a blob's file, or a part of one, from the disk. Fails with the system's errors, or with those of `rest` (see readDirect). */
export async function examine(
  path: string,
  fid: number,
  rest?: (bytes: number) => Promise<void> | void,
  part?: Part,
): Promise<Examined> {
  const digest = createHash('sha256');
  const checksums = new BlockChecksums();
  const see = (piece: Buffer) => {
    digest.update(piece);
    checksums.update(piece);
  };
  const size = await readDirect(path, see, rest, part);
  const crc = size > BLOCK ? { crc: checksums.finish().toString('base64') } : {};
  return { fid, size, sha256: digest.digest('hex'), ...crc };
}

export function isRight(found: Examined, expected: Content): boolean {
  return found.size === expected.size && found.sha256 === expected.sha256;
}

/** The record of a blob that was examined and is what the cluster knows it as. */
export function recordOf({ fid, size, sha256, crc }: Examined, known: KnownBlob, at: number): BlobRecord {
  const { domain, key, class: className } = known;
  const names = key === undefined ? {} : { domain, key, class: className };
  return { fid, ...names, size, sha256, at, ...(crc === undefined ? {} : { crc }) } as BlobRecord;
}
