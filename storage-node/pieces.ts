// Large blobs to and from a file in pieces, with the next piece under way while one is used.
import { fdatasync, ftruncateSync, read, write, writev } from 'node:fs';
import { promisify } from 'node:util';
import type { ByteRange } from '../services/ranges.ts';
import { PIECE, pageBuffers, SECTOR } from './page-memory.ts';

const [fdatasyncAsync, readAsync] = [promisify(fdatasync), promisify(read)];
const [writeAsync, writevAsync] = [promisify(write), promisify(writev)];

/** A long write is flushed this often, so that its last flush is not long. */
const SYNC_EVERY = 64 * 1024 * 1024;

/** Buffers of a PIECE that are used again and again: new ones would keep the garbage collector busy. */
const kept = pageBuffers(32, PIECE);
const memory = kept[0]?.buffer;

/** Gathers chunks into pieces and writes one piece while the next fills. `release` must be called at the end. */
export class PieceWriter {
  size = 0;
  readonly #fd: number;
  readonly #direct: boolean;
  #filling = kept.pop() ?? Buffer.allocUnsafeSlow(PIECE);
  #spare = kept.pop() ?? Buffer.allocUnsafeSlow(PIECE);
  #filled = 0;
  #unsynced = 0;
  #writing: Promise<void> = Promise.resolve();

  /** There is memory now for one that writes directly. */
  static get canBeDirect(): boolean {
    return kept.length >= 2;
  }

  /** @param direct write as files want it that are open with O_DIRECT; to be asked for only if it `canBeDirect` */
  constructor(fd: number, { direct = false } = {}) {
    this.#fd = fd;
    this.#direct = direct;
  }

  async add(chunk: Uint8Array): Promise<void> {
    let taken = 0;
    while (taken < chunk.length) {
      const part = chunk.subarray(taken, taken + PIECE - this.#filled);
      this.#filling.set(part, this.#filled);
      this.#filled += part.length;
      taken += part.length;
      if (this.#filled === PIECE) await this.#flush();
    }
    this.size += chunk.length;
  }

  async finish(): Promise<void> {
    const unaligned = this.#direct ? this.#filled % SECTOR : 0;
    if (unaligned > 0) {
      const end = this.#filled + SECTOR - unaligned;
      this.#filling.fill(0, this.#filled, end);
      this.#filled = end;
    }
    await this.#flush();
    await this.#writing;
    if (unaligned > 0) ftruncateSync(this.#fd, this.size);
  }

  /** Resolves when no write is under way, whatever became of it. Nothing may be added any more. */
  async release(): Promise<void> {
    await this.#writing.catch(() => {});
    kept.push(...[this.#filling, this.#spare].filter(({ buffer }) => buffer === memory));
  }

  async #flush(): Promise<void> {
    await this.#writing;
    const piece = this.#filling.subarray(0, this.#filled);
    [this.#filling, this.#spare] = [this.#spare, this.#filling];
    this.#filled = 0;
    this.#writing = this.#write(piece);
    // The failure is met by the next flush; until then it must not count as unhandled.
    this.#writing.catch(() => {});
  }

  async #write(piece: Buffer): Promise<void> {
    await writeFully(this.#fd, piece);
    this.#unsynced += piece.length;
    if (this.#unsynced < SYNC_EVERY) return;
    this.#unsynced = 0;
    await fdatasyncAsync(this.#fd);
  }
}

/** Writes all of `bytes` at the file's position. */
export async function writeFully(fd: number, bytes: Buffer): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await writeAsync(fd, bytes, done, bytes.length - done);
    done += bytesWritten;
  }
}

/** The same for bytes that lie in several places, with one call. */
export async function writeAllFully(fd: number, pieces: readonly Buffer[]): Promise<void> {
  let left = pieces;
  while (left.length > 0) {
    let { bytesWritten: done } = await writevAsync(fd, left);
    const next = left.findIndex(({ length }) => {
      if (length > done) return true;
      done -= length;
      return false;
    });
    const [cut, ...rest] = next < 0 ? [] : left.slice(next);
    left = cut === undefined ? [] : [cut.subarray(done), ...rest];
  }
}

/** The bytes of a range of an open file. The caller closes it when the generator has ended. */
export async function* readPieces(
  fd: number,
  { start, end }: ByteRange,
  piece = PIECE,
): AsyncGenerator<Buffer> {
  const readAt = async (position: number): Promise<Buffer> => {
    const wanted = Math.min(piece, end + 1 - position);
    const buffer = Buffer.allocUnsafeSlow(wanted);
    const { bytesRead } = await readAsync(fd, buffer, 0, wanted, position);
    if (bytesRead !== wanted) throw new Error('the file became shorter while it was read');
    return buffer;
  };
  let ahead: Promise<Buffer> | undefined = start <= end ? readAt(start) : undefined;
  try {
    for (let position = start; ahead !== undefined; ) {
      const bytes: Buffer = await ahead;
      position += bytes.length;
      ahead = position <= end ? readAt(position) : undefined;
      ahead?.catch(() => {});
      yield bytes;
    }
  } finally {
    // The file may only be closed when nothing reads it any more.
    await ahead?.catch(() => {});
  }
}
