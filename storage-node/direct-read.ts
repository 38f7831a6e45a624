// Reads files from the disk itself, past the page cache where the file system lets us (O_DIRECT; posix_fadvise is not to be
// had in Node): what is read proves something about the disk, and pushes nothing out of memory that is being served.
import { closeSync, constants, open, read } from 'node:fs';
import { promisify } from 'node:util';
import pLimit from 'p-limit';
import { failPoint } from '../services/fail-points.ts';
import { PIECE, pageBuffers, SECTOR } from './page-memory.ts';

const [openAsync, readAsync] = [promisify(open), promisify(read)];

/** Pieces that are read at the same time, by all devices; as many as there are threads for it. */
const SLOTS = 16;
const slots = pageBuffers(SLOTS, PIECE);
const limit = pLimit(SLOTS);

/** From `start` up to, but not including, `end`. */
export interface Part {
  start: number;
  end: number;
}

/**
 * Reads a file, or a part of it, from end to end; answers with how many bytes there were. `see` gets each piece, and must be
 * done with it when it returns; `rest` is awaited after each piece but the last, and may throw to give up.
 */
export async function readDirect(
  path: string,
  see: (piece: Buffer) => void,
  rest: (bytes: number) => Promise<void> | void = () => {},
  { start, end }: Part = { start: 0, end: Number.POSITIVE_INFINITY },
): Promise<number> {
  const fd = await openDirect(path);
  try {
    let size = 0;
    for (let place = start - (start % SECTOR); ; place += PIECE) {
      const wanted = Math.min(PIECE, Math.ceil((end - place) / SECTOR) * SECTOR);
      const [count, seen] = await limit(async () => {
        const buffer = slots.pop() as (typeof slots)[number];
        try {
          failPoint('node-read');
          const { bytesRead } = await readAsync(fd, buffer, 0, wanted, place);
          const piece = buffer.subarray(Math.max(0, start - place), Math.min(bytesRead, end - place));
          see(piece);
          return [bytesRead, piece.length];
        } finally {
          slots.push(buffer);
        }
      });
      size += seen;
      // A direct read goes on at a multiple of the sector only; a short one was the last.
      if (count < PIECE || place + PIECE >= end) return size;
      await rest(seen);
    }
  } finally {
    closeSync(fd);
  }
}

async function openDirect(path: string): Promise<number> {
  try {
    return await openAsync(path, constants.O_RDONLY | constants.O_DIRECT);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
    return await openAsync(path, constants.O_RDONLY);
  }
}
