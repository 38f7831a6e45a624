// Local directories as an import reads them: one directory at a time, names as bytes, nothing left out unsaid.
import { Buffer, isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  createReadStream,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readSync,
  type Stats,
} from 'node:fs';
import { directoryExclusion, nameExclusion } from './exclusions.ts';

/** A directory to import from. */
export interface Origin {
  /** What it is called in lists: the name in `--from name=DIR`, or DIR. */
  name: string;
  path: string;
}

export interface LocalFile {
  origin: Origin;
  path: string;
  size: number;
  /** Milliseconds, rounded down: what the store keeps. */
  mtimeMs: number;
  /** As chmod(1) has it: '0644'. */
  mode: string;
}

export interface Scanned {
  files: Map<string, LocalFile>;
  directories: string[];
}

/** Rounded down, but for what is lost where a time passes through floating-point seconds (utimes). */
function wholeMs(mtimeMs: number): number {
  return Math.floor(mtimeMs + 0.01);
}

/** What was left out: `left` if somebody should look at it, else by a rule. */
export type Skip = (origin: Origin, path: string, why: string, left: boolean) => void;

/** Reads one directory of an origin. `key`: relative to the origin, '' for itself. Undefined if there is none. */
export function scanDirectory(
  origin: Origin,
  key: string,
  everything: boolean,
  skip: Skip,
): Scanned | undefined {
  const path = key === '' ? origin.path : `${origin.path}/${key}`;
  let names: string[];
  try {
    names = readdirSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTDIR') skip(origin, key || '.', `cannot be read (${code})`, true);
    return undefined;
  }
  const scanned: Scanned = { files: new Map(), directories: [] };
  if (!everything) {
    const why = directoryExclusion(path, names);
    if (why !== undefined) {
      skip(origin, key || '.', why, key === '');
      return undefined;
    }
  }
  const prefix = key === '' ? '' : `${key}/`;
  // Where bytes are no UTF-8, a replacement character stands for them.
  if (names.some((name) => name.includes('\ufffd'))) names = validNames(origin, path, prefix, skip);
  for (const name of names) scanOne(origin, { path, prefix, name, everything }, scanned, skip);
  return scanned;
}

function validNames(origin: Origin, path: string, prefix: string, skip: Skip): string[] {
  return readdirSync(path, { encoding: 'buffer' }).flatMap((bytes) => {
    if (isUtf8(bytes)) return [bytes.toString()];
    skip(origin, `${prefix}${bytes.toString('latin1')}`, 'its name is not valid UTF-8; rename it', true);
    return [];
  });
}

function scanOne(
  origin: Origin,
  { path, prefix, name, everything }: { path: string; prefix: string; name: string; everything: boolean },
  scanned: Scanned,
  skip: Skip,
): void {
  const key = prefix + name;
  let stats: Stats;
  try {
    stats = lstatSync(`${path}/${name}`);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const gone = code === 'ENOENT';
    skip(origin, key, gone ? 'it was removed meanwhile' : `cannot be read (${code})`, !gone);
    return;
  }
  const directory = stats.isDirectory();
  const why = everything ? undefined : nameExclusion(name, directory, prefix === '');
  if (why !== undefined) {
    skip(origin, key, why, false);
    return;
  }
  if (directory) {
    scanned.directories.push(name);
  } else if (stats.isFile()) {
    const { size, mtimeMs } = stats;
    const mode = (stats.mode & 0o7777).toString(8).padStart(4, '0');
    scanned.files.set(name, { origin, path: `${path}/${name}`, size, mtimeMs: wholeMs(mtimeMs), mode });
  } else {
    skip(origin, key, stats.isSymbolicLink() ? 'a symbolic link' : 'neither a file nor a directory', true);
  }
}

/** A file was written, replaced or removed between two looks at it. */
export class ChangedWhileRead extends Error {
  override name = 'ChangedWhileRead';

  constructor() {
    super('it changed while it was read; the next pass takes it');
  }
}

/** Reads a small file whole. @throws ChangedWhileRead if it is not what was seen before */
export function readWhole(file: LocalFile): Buffer {
  const fd = openSync(file.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const bytes = Buffer.allocUnsafe(file.size + 1);
    let length = 0;
    for (let got = -1; got !== 0 && length < bytes.length; length += got) {
      got = readSync(fd, bytes, length, bytes.length - length, null);
    }
    assertSame(file, fstatSync(fd));
    if (length !== file.size) throw new ChangedWhileRead();
    return bytes.subarray(0, length);
  } finally {
    closeSync(fd);
  }
}

/** SHA-256 in hex of a file of any size. @throws ChangedWhileRead if it is not what was seen before */
export async function digestOfFile(file: LocalFile): Promise<string> {
  const digest = createHash('sha256');
  for await (const chunk of createReadStream(file.path)) digest.update(chunk as Buffer);
  assertSame(file);
  return digest.digest('hex');
}

/** @throws ChangedWhileRead if a file's size or time is another one than was seen before */
export function assertSame(file: LocalFile, stats = lstatSync(file.path)): void {
  if (stats.size !== file.size || wholeMs(stats.mtimeMs) !== file.mtimeMs || !stats.isFile()) {
    throw new ChangedWhileRead();
  }
}
