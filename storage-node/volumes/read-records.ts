// Reads a volume from end to end, for recovery and compaction.
import { closeSync, fstatSync, read } from 'node:fs';
import { promisify } from 'node:util';
import { failPoint } from '../../services/fail-points.ts';
import { UNREADABLE } from '../disk-errors.ts';
import { decodeHead, HEAD, type Head, lengthOf, MAGIC_BYTES, UNIT } from './record.ts';
import type { VolumeFiles } from './volume-files.ts';

const readAsync = promisify(read);

/** Bytes that are read at once: more than any record has. */
const WINDOW = 4 * 1024 * 1024;
/** What the system reads at once at least: where that fails, what comes next may be good. */
const PAGE = 4096;

export interface VolumeRecord {
  offset: number;
  head: Head;
  /** All of it, and the parts that it has; good until the next one is asked for. */
  bytes: Buffer;
  blob: Buffer;
  line: string;
}

/**
 * The records of a volume from a place on. What is torn or damaged is passed over: behind a damaged record others may
 * be good. The bytes of a blob are not compared with its digest.
 * @param unreadable called for what the disk cannot read, which is passed over as well
 */
export async function* readRecords(
  files: VolumeFiles,
  volume: number,
  from: number,
  unreadable: () => void = () => {},
): AsyncGenerator<VolumeRecord> {
  const fd = files.openVolume(volume);
  try {
    const { size } = fstatSync(fd);
    const window = Buffer.allocUnsafe(Math.min(WINDOW, Math.max(0, size - from)));
    let start = from;
    while (start + HEAD <= size) {
      const seen = await fill(window, fd, start);
      if (seen === undefined) unreadable();
      if (seen?.length === 0) return;
      const passed = seen === undefined ? PAGE - (start % PAGE) : yield* recordsIn(seen, start, files.seed);
      start += passed;
    }
  } finally {
    closeSync(fd);
  }
}

/** What could be read, which ends before what cannot be read; undefined if that is where it begins. */
async function fill(window: Buffer, fd: number, start: number): Promise<Buffer | undefined> {
  try {
    failPoint('node-volume-read');
    const { bytesRead } = await readAsync(fd, window, 0, window.length, start);
    return window.subarray(0, bytesRead);
  } catch (error) {
    if (UNREADABLE.has((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw error;
  }
}

/** Answers with how many bytes are done with: behind them a record may begin of which only a part was read. */
function* recordsIn(seen: Buffer, start: number, seed: number): Generator<VolumeRecord, number> {
  let at = 0;
  while (at + HEAD <= seen.length) {
    const head = decodeHead(seen.subarray(at, at + HEAD), seed);
    const length = head === undefined ? 0 : lengthOf(head);
    if (head !== undefined && at + length <= seen.length) {
      const bytes = seen.subarray(at, at + length);
      const blob = bytes.subarray(HEAD, HEAD + head.size);
      const line = bytes.toString('utf8', HEAD + head.size, HEAD + head.size + head.line);
      yield { offset: start + at, head, bytes, blob, line };
      at += length;
    } else if (head !== undefined && at > 0) {
      return at;
    } else {
      // No record begins here; or the window does, and holds less than all of one, which was torn or cannot be read.
      at = nextHead(seen, at);
    }
  }
  return at === 0 ? seen.length : at;
}

/** Where a head may begin behind `at`, at the earliest. */
function nextHead(bytes: Buffer, at: number): number {
  for (let next = at + UNIT; ; next = Math.ceil((next + 1) / UNIT) * UNIT) {
    const found = bytes.indexOf(MAGIC_BYTES, next);
    if (found < 0) return bytes.length;
    if (found % UNIT === 0) return found;
    next = found;
  }
}
