// How the bytes of a blob get into a new file: when `writeFile` has resolved, no power cut can take them away. The
// name that the file has then is another matter (files-store.ts).
import { createHash, hash } from 'node:crypto';
import { closeSync, constants, fdatasync, openSync, unlinkSync } from 'node:fs';
import { promisify } from 'node:util';
import type { Content, PutOptions } from './blob-store.ts';
import { BLOCK, BlockChecksums } from './checksums.ts';
import { assertOnDisk, type Ground } from './ground.ts';
import { PieceWriter, writeAllFully } from './pieces.ts';

const fdatasyncAsync = promisify(fdatasync);
const EXCLUSIVE = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY;

/** Bytes of a blob from which a direct write, which takes some calls more, is worth it. */
const DIRECT_FROM = 256 * 1024;

type Pieces = readonly Buffer[];

/** With the checksums of a large blob, base64. */
export type Stored = Content & { crc?: string };

/** @throws what `accept` throws, and the system's errors; the file may be there then, and is worth nothing */
export function writeFile(
  ground: Ground,
  path: string,
  body: Buffer | Pieces | AsyncIterable<Uint8Array>,
  options: Pick<PutOptions, 'accept' | 'direct'>,
): Promise<Stored> {
  const parts = Buffer.isBuffer(body) ? [body] : body;
  if (Symbol.asyncIterator in parts || (options.direct && lengthOf(parts) >= DIRECT_FROM)) {
    return writeStream(ground, path, parts, options);
  }
  return writeWhole(ground, path, parts, options);
}

/** Removes a temporary name. If that fails it is removed at the next start; the blob's fate is decided already. */
export function forget(temporary: string): void {
  try {
    unlinkSync(temporary);
  } catch {}
}

/** A small blob: one write, durable when it returns, which saves a call against write and fdatasync. */
async function writeWhole(
  ground: Ground,
  path: string,
  pieces: Pieces,
  { accept }: Pick<PutOptions, 'accept'>,
): Promise<Content> {
  const content = contentOf(pieces);
  accept(content);
  const fd = create(ground, path, constants.O_DSYNC);
  try {
    // A write of no bytes flushes nothing.
    if (content.size === 0) await fdatasyncAsync(fd);
    else await writeAllFully(fd, pieces);
  } finally {
    closeSync(fd);
  }
  return content;
}

/** A large blob: while one piece is on its way to the disk, the next one is received and hashed. */
async function writeStream(
  ground: Ground,
  path: string,
  body: AsyncIterable<Uint8Array> | Pieces,
  options: Pick<PutOptions, 'accept' | 'direct'>,
): Promise<Stored> {
  const direct = options.direct === true && PieceWriter.canBeDirect;
  const fd = direct ? createDirect(ground, path) : create(ground, path);
  const digest = createHash('sha256');
  const checksums = new BlockChecksums();
  const writer = new PieceWriter(fd, { direct });
  try {
    for await (const chunk of body) {
      digest.update(chunk);
      checksums.update(chunk);
      await writer.add(chunk);
    }
    await writer.finish();
    const content = { size: writer.size, sha256: digest.digest('hex') };
    options.accept(content);
    await fdatasyncAsync(fd);
    return content.size > BLOCK ? { ...content, crc: checksums.finish().toString('base64') } : content;
  } finally {
    await writer.release();
    closeSync(fd);
  }
}

function create(ground: Ground, path: string, flags = 0): number {
  const fd = openSync(path, EXCLUSIVE | flags, 0o640);
  try {
    assertOnDisk(ground, fd);
    return fd;
  } catch (error) {
    closeSync(fd);
    forget(path);
    throw error;
  }
}

/** For writes past the page cache where the file system has them, else for others. */
function createDirect(ground: Ground, path: string): number {
  try {
    return create(ground, path, constants.O_DIRECT);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
    // It may have been made nevertheless (open(2)).
    forget(path);
    return create(ground, path);
  }
}

/** Size and digest of bytes that are in memory. */
export function contentOf(pieces: Pieces): Content {
  const [first, ...more] = pieces;
  if (first !== undefined && more.length === 0) {
    return { size: first.length, sha256: hash('sha256', first, 'hex') };
  }
  const digest = createHash('sha256');
  for (const piece of pieces) digest.update(piece);
  return { size: lengthOf(pieces), sha256: digest.digest('hex') };
}

export function lengthOf(pieces: Pieces): number {
  return pieces.reduce((sum, { length }) => sum + length, 0);
}
