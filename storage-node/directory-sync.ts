// Makes directory entries durable. One fsync of a directory serves all that wait for it, and a directory is trusted
// only after this process has fsynced the chain of its parents: another process may have made it just before a crash.
import { closeSync, fsync, mkdir, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { LRUCache } from 'lru-cache';
import { failPoint } from '../services/fail-points.ts';

const [fsyncAsync, mkdirAsync] = [promisify(fsync), promisify(mkdir)];

interface Running {
  done: Promise<void>;
  /** The fsync that starts when this one has ended, for entries made after this one began. */
  next?: Promise<void>;
}

export class DirectorySync {
  readonly #root: string;
  readonly #running = new Map<string, Running>();
  readonly #trusted = new LRUCache<string, Promise<void>>({ max: 10_000 });
  #broken: Error | undefined;

  /** @param root the device's directory; all other paths are relative to it, '' is the root itself */
  constructor(root: string) {
    this.#root = root;
  }

  /** Resolves when every entry that was in `directory` at the time of the call is durable. */
  sync(directory: string): Promise<void> {
    const running = this.#running.get(directory);
    if (running === undefined) return this.#start(directory);
    running.next ??= running.done.then(() => this.#start(directory));
    return running.next;
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

  #start(directory: string): Promise<void> {
    const running: Running = { done: this.#fsync(directory) };
    this.#running.set(directory, running);
    const end = () => {
      if (this.#running.get(directory) === running) this.#running.delete(directory);
    };
    running.done.then(end, end);
    return running.done;
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
