// Byte ranges (RFC 9110, 14): which bytes a Range field asks for, and the 206 that answers it, as one part or as
// multipart/byteranges. Where the bytes come from is the caller's.
import { randomBytes } from 'node:crypto';
import parseRange from 'range-parser';
import { Problem } from './problems.ts';

/** Bytes from `start` to `end`, both included. */
export interface ByteRange {
  start: number;
  end: number;
}

/** More ranges than this in one request are not worth their heads: the file is served whole (RFC 9110, 14.2). */
export const MAX_RANGES = 32;

/**
 * The ranges that a Range field selects of `size` bytes, overlapping and adjacent ones joined.
 * Undefined: serve the whole (no field, a malformed one, another unit, too many ranges).
 * The caller ignores Range for anything but GET, and when `rangeApplies` says no.
 */
export function selectRanges(
  header: string | undefined,
  size: number,
): undefined | 'unsatisfiable' | ByteRange[] {
  const [, set] = /^\s*bytes\s*=(.*)$/i.exec(header ?? '') ?? [];
  if (set === undefined) return undefined;
  const specs = set.split(',').map((spec) => spec.trim());
  if (specs.length > MAX_RANGES) return undefined;
  // range-parser drops a suffix longer than the file; RFC 9110, 14.1.2 means the whole file by it.
  const bounded = specs.map((spec) => (/^-\d+$/.test(spec) && Number(spec.slice(1)) > size ? '0-' : spec));
  const ranges = parseRange(size, `bytes=${bounded.join(',')}`, { combine: true });
  if (ranges === -2) return undefined;
  if (ranges === -1) return 'unsatisfiable';
  return ranges.map(({ start, end }) => ({ start, end }));
}

/** The 416 answer, with the Content-Range that tells the size (RFC 9110, 15.5.17). */
export function rangeNotSatisfiable(size: number): Problem {
  return new Problem('range-not-satisfiable', `No requested range lies within the file's ${size} bytes.`, {
    headers: { 'content-range': `bytes */${size}` },
  });
}

export interface RangeAnswer {
  /** Content-Length and Content-Range; of several ranges Content-Length and the multipart Content-Type. */
  headers: Record<string, string>;
  /** Exact number of bytes in the body. */
  length: number;
  /** The body. `open` gives the bytes of one range and is called for each in turn. */
  body(open: (range: ByteRange) => AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array>;
}

/**
 * How to answer 206 for `ranges` (at least one) of a file of `size` bytes.
 * @param contentType the file's own, repeated in the head of each part if there are several
 */
export function answerRanges(ranges: ByteRange[], size: number, contentType?: string): RangeAnswer {
  const [first] = ranges;
  if (ranges.length === 1 && first !== undefined) {
    const length = first.end - first.start + 1;
    return {
      headers: { 'content-length': String(length), 'content-range': contentRange(first, size) },
      length,
      body: (open) => chain([() => open(first)]),
    };
  }
  const boundary = randomBytes(16).toString('hex');
  const type = contentType === undefined ? '' : `Content-Type: ${contentType}\r\n`;
  const heads = ranges.map((range, index) =>
    Buffer.from(
      `${index === 0 ? '' : '\r\n'}--${boundary}\r\n${type}Content-Range: ${contentRange(range, size)}\r\n\r\n`,
    ),
  );
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  const partBytes = ranges.reduce((sum, { start, end }) => sum + end - start + 1, 0);
  const length = heads.reduce((sum, head) => sum + head.length, partBytes + tail.length);
  return {
    headers: {
      'content-length': String(length),
      'content-type': `multipart/byteranges; boundary=${boundary}`,
    },
    length,
    body: (open) =>
      chain([
        ...ranges.flatMap((range, index) => [() => [heads[index] as Buffer], () => open(range)]),
        () => [tail],
      ]),
  };
}

function contentRange({ start, end }: ByteRange, size: number): string {
  return `bytes ${start}-${end}/${size}`;
}

async function* chain(
  pieces: (() => AsyncIterable<Uint8Array> | Iterable<Uint8Array>)[],
): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) yield* piece();
}
