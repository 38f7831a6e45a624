// Where a blob's file stands on its device, if it has one: the path that MogileFS uses, so that its disks can be adopted as
// they are. Small blobs are in volumes (volumes/), with the slots of their fids in the same directories.
import type { Dirent } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Fids that share one directory. */
export const FIDS_A_DIRECTORY = 1_000;

/** Fids below one entry of each level of directories, from the top. */
const SPANS = [1_000_000_000, 1_000_000, FIDS_A_DIRECTORY];

/** `0/000/012` for 12345: the digits before the last nine, then three, then three. */
export function blobDirectory(fid: number): string {
  const digits = pad(fid);
  return `${digits.slice(0, -9)}/${digits.slice(-9, -6)}/${digits.slice(-6, -3)}`;
}

/** `0/000/012/0000012345.fid` for 12345, relative to the device. */
export function blobPath(fid: number): string {
  return `${blobDirectory(fid)}/${pad(fid)}.fid`;
}

/** The first fid of the directory that a fid's file is in. */
export function leafOf(fid: number): number {
  return fid - (fid % FIDS_A_DIRECTORY);
}

/** `journal/0/000/012.log`: where the lines about a directory's blobs stand. */
export function journalPath(fid: number): string {
  return `journal/${blobDirectory(fid)}.log`;
}

/** One directory of blobs: its path relative to the device, and the first fid that belongs in it. */
export interface Leaf {
  directory: string;
  first: number;
}

/**
 * Walks the directories that may hold fids from `from` on, lazily, in numeric order (or from the highest down).
 * Whatever else stands on the device is passed over.
 */
export function leaves(root: string, from = 0, order: 'ascending' | 'descending' = 'ascending') {
  async function* below(relative: string, base: number, level: number): AsyncGenerator<Leaf> {
    const span = SPANS[level];
    if (span === undefined) {
      yield { directory: relative, first: base };
      return;
    }
    const children = await numberedDirectories(join(root, relative), level);
    if (order === 'descending') children.reverse();
    for (const { name, number } of children) {
      const first = base + number * span;
      if (first + span > from) yield* below(relative === '' ? name : `${relative}/${name}`, first, level + 1);
    }
  }
  return below('', 0, 0);
}

/** The fids that have a file in this directory, ascending. */
export async function fidsIn(root: string, leaf: Leaf): Promise<number[]> {
  const fids: number[] = [];
  for (const entry of await entries(join(root, leaf.directory))) {
    const fid = Number(/^(\d{10,16})\.fid$/.exec(entry.name)?.[1]);
    if (entry.isFile() && `${leaf.directory}/${entry.name}` === blobPath(fid) && fid > 0) fids.push(fid);
  }
  return fids.sort((a, b) => a - b);
}

async function numberedDirectories(path: string, level: number): Promise<{ name: string; number: number }[]> {
  const pattern = level === 0 ? /^(0|[1-9]\d{0,6})$/ : /^\d{3}$/;
  return (await entries(path))
    .filter((entry) => entry.isDirectory() && pattern.test(entry.name))
    .map(({ name }) => ({ name, number: Number(name) }))
    .sort((a, b) => a.number - b.number);
}

async function entries(path: string): Promise<Dirent[]> {
  return await readdir(path, { withFileTypes: true });
}

function pad(fid: number): string {
  return String(fid).padStart(10, '0');
}
