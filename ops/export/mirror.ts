// Makes a directory what the store holds: downloads what differs, each file renamed into its place when it is whole and
// verified. Goes by the summaries of directories, and lists only those that are not the same.
import { lstatSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DEFAULT_MODE, filesIn, holdsSame, type Summary, summariesOf } from '../import/summaries.ts';
import { type LocalFile, scanDirectory } from '../import/tree.ts';
import type { Api } from '../lib/api.ts';
import { downloadTo } from '../lib/download.ts';
import { failureOf, isProblem } from '../lib/failure.ts';
import { joinKey } from '../lib/local.ts';
import type { Progress } from '../lib/progress.ts';
import type { FileEntry } from '../lib/types.ts';
import { MARKER } from './marker.ts';

export interface MirrorOptions {
  api: Api;
  domain: string;
  /** The directory of the store, '' for the root. */
  prefix: string;
  target: string;
  /** Remove what the store does not hold. */
  delete: boolean;
  dryRun: boolean;
  concurrency: number;
  progress: Progress;
  signal: AbortSignal;
  tell(event: Event): void;
}

/** What was done, or could not be; `extra`: it is not in the store, and stays since nothing is to be deleted. */
export interface Event {
  event: 'written' | 'deleted' | 'extra' | 'failed';
  path: string;
  why?: string;
}

export interface Counts {
  files: number;
  bytes: number;
  upToDate: number;
  written: number;
  writtenBytes: number;
  deleted: number;
  extra: number;
  failed: number;
}

/** Half-written files of a run that was killed. */
const PART = /^\.cistern-[0-9a-f]{12}\.part$/;
const PART_AGE_MS = 3_600_000;

export class Mirror {
  readonly counts: Counts = {
    files: 0,
    bytes: 0,
    upToDate: 0,
    written: 0,
    writtenBytes: 0,
    deleted: 0,
    extra: 0,
    failed: 0,
  };
  readonly #how: MirrorOptions;
  readonly #underWay = new Set<Promise<void>>();

  constructor(how: MirrorOptions) {
    this.#how = how;
  }

  /** One pass. What can fail by itself is told; throws what would stop every other file too. */
  async pass(): Promise<void> {
    const { api, domain, prefix, progress, signal } = this.#how;
    const summaries = await summariesOf(api, domain, prefix);
    const below = childrenOf(summaries, prefix);
    for (const { files } of summaries.values()) this.counts.files += files;
    progress.setTotal(this.counts.files);
    const pending = [prefix];
    for (let key = pending.pop(); key !== undefined; key = pending.pop()) {
      signal.throwIfAborted();
      const children = below.get(key) ?? [];
      if (await this.#directory(key, summaries.get(key), children)) {
        pending.push(...children.map((name) => joinKey(key as string, name)));
      }
    }
    await Promise.all(this.#underWay);
  }

  /** @returns false if it could not be made, and so nothing below it */
  async #directory(key: string, summary: Summary | undefined, children: string[]): Promise<boolean> {
    const path = this.#relative(key);
    const target = join(this.#how.target, path);
    if (path !== '' && lstatSync(target, { throwIfNoEntry: false })?.isSymbolicLink()) {
      this.#failed(path, 'a symbolic link is in the place of this directory; remove it');
      return false;
    }
    const local = scanDirectory({ name: '', path: target }, '', true, () => {});
    if (local === undefined && !this.#makeDirectory(path, target)) return false;
    const files = local?.files ?? new Map<string, LocalFile>();
    this.#forgetParts(files, path === '');
    const directories = new Set(local?.directories);
    if (summary !== undefined && !holdsSame(summary, files)) await this.#compare(key, summary, files);
    else this.#upToDate(files.size, summary?.bytes ?? 0);
    const wanted = new Set(children);
    for (const name of directories) if (!wanted.has(name)) this.#extra(joinKey(path, name), true);
    return true;
  }

  #relative(key: string): string {
    const { prefix } = this.#how;
    return prefix === '' ? key : key.slice(prefix.length + 1);
  }

  #makeDirectory(path: string, target: string): boolean {
    if (this.#how.dryRun) return true;
    try {
      mkdirSync(target, { recursive: path === '' });
      return true;
    } catch (error) {
      this.#failed(path, failureOf(error).message);
      return false;
    }
  }

  #forgetParts(files: Map<string, LocalFile>, top: boolean): void {
    if (top) files.delete(MARKER);
    for (const [name, { path, mtimeMs }] of files) {
      if (!PART.test(name)) continue;
      files.delete(name);
      if (Date.now() - mtimeMs > PART_AGE_MS && !this.#how.dryRun) rmSync(path, { force: true });
    }
  }

  #upToDate(files: number, bytes: number): void {
    this.counts.upToDate += files;
    this.counts.bytes += bytes;
    this.#how.progress.add(files);
  }

  async #compare(key: string, summary: Summary, local: Map<string, LocalFile>): Promise<void> {
    const { api, domain } = this.#how;
    const stored = await filesIn(api, domain, key).catch((error) => {
      // It was removed since it was summarized: the next pass sees that.
      if (isProblem(error, 'directory-not-found')) return new Map<string, FileEntry>();
      throw error;
    });
    if (stored.size === 0 && summary.files > 0) return;
    for (const [name, entry] of stored) {
      const there = local.get(name);
      local.delete(name);
      if (there !== undefined && isCurrent(there, entry)) this.#upToDate(1, entry.size);
      else await this.#fetch(entry);
    }
    for (const name of local.keys()) this.#extra(joinKey(this.#relative(key), name), false);
  }

  async #fetch(entry: FileEntry): Promise<void> {
    while (this.#underWay.size >= this.#how.concurrency) await Promise.race(this.#underWay);
    const running = this.#write(entry).finally(() => this.#underWay.delete(running));
    this.#underWay.add(running);
    running.catch(() => {});
  }

  async #write(entry: FileEntry): Promise<void> {
    const { api, domain, target, signal, dryRun, tell, progress } = this.#how;
    const path = this.#relative(entry.key);
    try {
      if (!dryRun) {
        await downloadTo(api, domain, entry.key, join(target, path), signal, {
          mtime: new Date(entry.mtime),
          mode: modeOf(entry),
          onBytes: () => {},
        });
      }
      this.counts.written++;
      this.counts.writtenBytes += entry.size;
      this.counts.bytes += entry.size;
      tell({ event: 'written', path });
    } catch (error) {
      const failure = failureOf(error);
      if (signal.aborted || (failure.exit >= 2 && !isProblem(error))) throw error;
      // It was deleted meanwhile: the next pass sees that.
      if (!isProblem(error, 'file-not-found')) this.#failed(path, failure.message);
    }
    progress.add(1);
  }

  /** Something that the store does not hold. */
  #extra(path: string, directory: boolean): void {
    const { delete: remove, dryRun, target, tell } = this.#how;
    if (!remove) {
      this.counts.extra++;
      tell({ event: 'extra', path });
      return;
    }
    try {
      if (!dryRun && directory) rmSync(join(target, path), { recursive: true });
      else if (!dryRun) rmSync(join(target, path));
      this.counts.deleted++;
      tell({ event: 'deleted', path });
    } catch (error) {
      this.#failed(path, failureOf(error).message);
    }
  }

  #failed(path: string, why: string): void {
    this.counts.failed++;
    this.#how.tell({ event: 'failed', path, why });
  }
}

/** The names of the directories in each directory. */
function childrenOf(summaries: Map<string, Summary>, prefix: string): Map<string, string[]> {
  const children = new Map<string, string[]>();
  for (const key of summaries.keys()) {
    if (key === prefix) continue;
    const slash = key.lastIndexOf('/');
    const parent = slash < 0 ? '' : key.slice(0, slash);
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [key.slice(slash + 1)]);
    else siblings.push(key.slice(slash + 1));
  }
  return children;
}

function isCurrent(local: LocalFile, entry: FileEntry): boolean {
  return (
    local.size === entry.size &&
    local.mtimeMs === Date.parse(entry.mtime) &&
    Number.parseInt(local.mode, 8) === modeOf(entry)
  );
}

/** Without the bits that let a file run as another user: what comes from a web site must not. */
function modeOf({ meta }: FileEntry): number {
  const mode = typeof meta.mode === 'string' && /^[0-7]{3,4}$/.test(meta.mode) ? meta.mode : DEFAULT_MODE;
  return Number.parseInt(mode, 8) & 0o777;
}
