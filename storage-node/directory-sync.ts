// Makes directory entries durable. One fsync of a directory serves all that wait for it, and a directory is trusted
// only after this process has fsynced the chain of its parents: another process may have made it just before a crash.
import { closeSync, fsync, mkdir, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { LRUCache } from 'lru-cache';
import { failPoint } from '../services/fail-points.ts';
import { SharedRuns } from './shared-runs.ts';

const [fsyncAsync, mkdirAsync] = [promisify(fsync), promisify(mkdir)];

export class DirectorySync {
  readonly #root: string;
  readonly #syncs = new SharedRuns<string>((directory) => this.#fsync(directory));
  readonly #trusted = new LRUCache<string, Promise<void>>({ max: 10_000 });
  #broken: Error | undefined;

  /** @param root the device's directory; all other paths are relative to it, '' is the root itself */
  constructor(root: string) {
    this.#root = root;
  }

  /** Resolves when every entry that was in `directory` at the time of the call is durable. */
  sync(directory: string): Promise<void> {
    return this.#syncs.run(directory);
  }

  /** Makes `directory` with its parents where needed; resolves when the chain down to it is durable. */
  ensure(directory: string): Promise<void> {
    const trusted = this.#trusted.get(directory);
    if (trusted !== undefined) return trusted;
    const made = this.#make(directory);
    this.#trusted.set(directory, made);
    made.catch(() => this.#trusted.delete(directory));
    return made;
  }

  /** Forgets which directories are trusted: the file system below may be another one now. */
  distrust(): void {
    this.#trusted.clear();
  }

  /** Tries fsync again after it failed: somebody has looked at the disk and found it well. */
  recover(): void {
    this.#broken = undefined;
    this.distrust();
  }

  async #make(directory: string): Promise<void> {
    const parent = dirname(directory);
    if (parent !== '.') await this.ensure(parent);
    await mkdirAsync(join(this.#root, directory)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
    failPoint('node-directory-made');
    await this.sync(parent === '.' ? '' : parent);
  }

  async #fsync(directory: string): Promise<void> {
    // After one failure the kernel forgets what it could not write, and a second fsync would lie.
    if (this.#broken !== undefined) throw this.#broken;
    // It was used just now, so this does not wait for the disk.
    const fd = openSync(join(this.#root, directory), 'r');
    try {
      await fsyncAsync(fd);
    } catch (error) {
      this.#broken = error as Error;
      throw error;
    } finally {
      closeSync(fd);
    }
  }
}
