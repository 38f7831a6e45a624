// Files on this machine, and the rule that says where each of several goes.
import { type Dirent, promises as fs, type Stats } from 'node:fs';
import { basename, join } from 'node:path';
import { Failure, failureOf, usage } from './failure.ts';

/** A file (or an empty directory) to be stored, and its key. */
export interface Source {
  kind: 'file' | 'directory';
  path: string;
  key: string;
  size: number;
  mtime: Date;
}

/**
 * Where things go, as cp(1) and rsync(1) have it: several, or a target that ends with '/', go into the target under
 * their own last names; a single one becomes the target. The contents of `dir/.` go into the target themselves.
 */
export function destinations(
  sources: string[],
  target: string,
  intoTarget = sources.length > 1 || target.endsWith('/') || target === '',
): { source: string; target: string }[] {
  const directory = target.replace(/\/$/, '');
  return sources.map((source) => {
    const name = intoTarget ? lastName(source) : undefined;
    return { source, target: name === undefined ? directory : joinKey(directory, name) };
  });
}

/** The last segment of a path; undefined if it names its contents (`.`, `/`, `a/.`). */
export function lastName(path: string): string | undefined {
  if (/(^|\/)\.$/.test(path)) return undefined;
  const name = basename(path);
  if (name === '..') throw usage(`'${path}' has no name of its own`, 'name the directory itself');
  return name === '' ? undefined : name;
}

/** Joins a directory's key ('' is the root) and a name. */
export function joinKey(directory: string, name: string): string {
  return directory === '' ? name : `${directory}/${name}`;
}

/**
 * Walks what `path` names: the file itself, or the files below it and its empty directories, in order of their names.
 * Symbolic links are followed. What cannot be stored is given to `skip` and left out.
 */
export async function* walk(
  path: string,
  key: string,
  skip: (failure: Failure) => void,
  above: string[] = [],
): AsyncGenerator<Source> {
  let stats: Stats;
  let names: Dirent[] = [];
  try {
    stats = await fs.stat(path);
    if (stats.isDirectory()) names = await fs.readdir(path, { withFileTypes: true });
  } catch (error) {
    return skip(failureOf(error, 'cannot read'));
  }
  const what = { path, key, size: stats.size, mtime: stats.mtime };
  if (stats.isFile()) return yield { kind: 'file', ...what };
  if (!stats.isDirectory()) return skip(new Failure(`'${path}': neither a file nor a directory`));
  const identity = `${stats.dev}:${stats.ino}`;
  if (above.includes(identity))
    return skip(new Failure(`'${path}': a symbolic link to a directory above it`));
  if (names.length === 0 && key !== '') yield { kind: 'directory', ...what, size: 0 };
  for (const { name } of names.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    yield* walk(join(path, name), joinKey(key, name), skip, [...above, identity]);
  }
}

/** Does `work` for each item, `limit` at a time, taking items only as they are needed. */
export async function inParallel<T>(
  items: AsyncGenerator<T>,
  limit: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const worker = async () => {
    // Generators queue the calls of next(), so workers can share one.
    for (let next = await items.next(); !next.done; next = await items.next()) await work(next.value);
  };
  await Promise.all(Array.from({ length: limit }, worker));
}
