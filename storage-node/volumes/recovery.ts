// After a crash: slots are made of the records behind the checkpoint, which may not have been durable.
import { hash } from 'node:crypto';
import type { Journal } from '../journal.ts';
import { type BlobRecord, unframe } from '../journal-record.ts';
import { leafOf } from '../layout.ts';
import { readRecords, type VolumeRecord } from './read-records.ts';
import { lengthOf } from './record.ts';
import { isAt, isBehind, type Place, type Slots } from './slots.ts';
import { SEALED, type VolumeFiles } from './volume-files.ts';

export interface Parts {
  files: VolumeFiles;
  slots: Slots;
  journal: Journal;
}

/**
 * Answers with where the next record goes.
 * @param from the checkpoint
 * @param writable false: nothing is written, slots are changed in memory
 */
export async function recover(parts: Parts, from: Place, writable: boolean): Promise<Place> {
  const { files } = parts;
  const volumes = await files.list();
  const last = volumes.at(-1)?.volume ?? 0;
  // A number is never used twice: slots may speak of that volume.
  let end: Place = last < from.volume ? { volume: from.volume, offset: SEALED } : { volume: last, offset: 0 };
  if (last === 0 && from.offset === 0) end = { volume: 0, offset: 0 };
  let isSealed = false;
  const journalled = new Map<number, BlobRecord>();
  for (const { volume } of volumes) {
    if (volume < from.volume) continue;
    const start = volume === from.volume ? from.offset : 0;
    if (volume === last) end = { volume, offset: start };
    // Slots may speak of what the disk cannot read: nothing else is written there.
    const seal = () => {
      isSealed ||= volume === last;
    };
    for await (const record of readRecords(files, volume, start, seal)) {
      if (volume === last) end = { volume, offset: record.offset + lengthOf(record.head) };
      const [line] = unframe<BlobRecord>(record.line);
      if ((await take(parts, volume, record)) && line !== undefined) journalled.set(line.fid, line);
    }
  }
  if (writable) await addLines(parts, journalled);
  return isSealed ? { volume: last, offset: SEALED } : end;
}

/** True if the record is its blob's last one, and whole. */
async function take({ slots }: Parts, volume: number, { offset, head, blob }: VolumeRecord) {
  const { fid, size, at, sha256 } = head;
  const place = { volume, offset };
  const slot = await slots.find(fid);
  // The slot was made durable together with another one; the journal's line may be missing nevertheless.
  if (isAt(slot, place)) return true;
  if (slot !== undefined && !isBehind(place, slot)) return false;
  if (hash('sha256', blob, 'hex') !== sha256) return false;
  await slots.update(fid, () => ({ ...place, size, length: lengthOf(head), at, there: true }));
  return true;
}

/** The journal's lines are written after the blobs, and made durable a moment later: a crash takes the last ones. */
async function addLines({ journal }: Parts, lines: Map<number, BlobRecord>): Promise<void> {
  for (const [first, fids] of Map.groupBy(lines.keys(), leafOf)) {
    const known = await journal.read(first);
    const missing = fids.filter((fid) => !known.has(fid));
    await Promise.all(missing.map((fid) => journal.add(lines.get(fid) as BlobRecord)));
  }
}
