// The lines of a journal. Each is `<CRC-32 of the rest, 8 hex digits> <JSON>\n`, so that a line that was torn by a
// crash, or changed on the disk, is known and passed over, and every tool that reads lines can read the others.
import { crc32 } from 'node:zlib';
import type { Binding } from '../services/tickets.ts';

/** What a device says beside a blob's bytes: their digest, and what they were stored for. */
export interface BlobRecord extends Partial<Binding> {
  fid: number;
  size: number;
  sha256: string;
  /** When it was stored, milliseconds since the epoch. */
  at: number;
  /** CRC-32 of each MiB, base64 (see checksums.ts); only of blobs that are larger than one. */
  crc?: string;
}

/** The blob is not there any more. */
export interface Removal {
  fid: number;
  removed: number;
}

export function formatLine(content: BlobRecord | Removal): string {
  return frame(content);
}

/** What is left when removals are taken into account: the last record of each blob that is still there. */
export function liveRecords(text: string): Map<number, BlobRecord> {
  const live = new Map<number, BlobRecord>();
  for (const line of unframe<BlobRecord | Removal>(text)) {
    if ('removed' in line) live.delete(line.fid);
    else live.set(line.fid, line);
  }
  return live;
}

/** `content` as a line with its checksum. */
export function frame(content: unknown): string {
  const json = JSON.stringify(content);
  return `${checksum(json)} ${json}\n`;
}

/** What the lines of `text` say, in their order; without those that are torn or damaged. */
export function* unframe<T>(text: string): Generator<T> {
  for (const line of text.split('\n')) {
    const json = line.slice(9);
    if (json !== '' && line.startsWith(`${checksum(json)} `)) yield JSON.parse(json);
  }
}

function checksum(json: string): string {
  return crc32(json).toString(16).padStart(8, '0');
}
