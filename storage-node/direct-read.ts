// Reads files from the disk itself, past the page cache where the file system lets us (O_DIRECT; posix_fadvise is not to be
// had in Node): what is read proves something about the disk, and pushes nothing out of memory that is being served.
import { closeSync, constants, open, read } from 'node:fs';
import { promisify } from 'node:util';
import pLimit from 'p-limit';
import { failPoint } from '../services/fail-points.ts';
import { pageBuffers } from './page-memory.ts';

const [openAsync, readAsync] = [promisify(open), promisify(read)];

/** Bytes that are read at once. */
export const PIECE = 512 * 1024;
/** Pieces that are read at the same time, by all devices; as many as there are threads for it. */
const SLOTS = 16;
const slots = pageBuffers(SLOTS, PIECE);
const limit = pLimit(SLOTS);

/**
 * Reads a file from end to end; answers with its size. `see` gets each piece, and must be done with it when it returns;
 * `rest` is awaited after each piece but the last, and may throw to give up.
 */
export async function readDirect(
  path: string,
  see: (piece: Buffer) => void,
  rest: (bytes: number) => Promise<void> | void = () => {},
): Promise<number> {
  const fd = await openDirect(path);
  try {
    for (let size = 0; ; ) {
      const count = await limit(async () => {
        const buffer = slots.pop() as (typeof slots)[number];
        try {
          failPoint('node-read');
          const { bytesRead } = await readAsync(fd, buffer, 0, PIECE, size);
          see(buffer.subarray(0, bytesRead));
          return bytesRead;
        } finally {
          slots.push(buffer);
        }
      });
      size += count;
      // A direct read goes on at a multiple of the sector only; a short one was the last.
      if (count < PIECE) return size;
      await rest(count);
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
