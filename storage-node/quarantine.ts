// Replicas that proved bad are moved aside, on the same disk: they are never served, their place is free for a good copy,
// and an operator can look at them until they are removed. A file's name here says what its bytes should be.
import { unlinkSync } from 'node:fs';
import { readdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { BlobStore, Content } from './blob-store.ts';
import { examine, isRight } from './examination.ts';
import type { Ground } from './ground.ts';

const DIRECTORY = 'quarantine';

export class Quarantine {
  readonly #ground: Ground;
  readonly #store: BlobStore;
  readonly #names = new Map<number, string>();

  constructor(ground: Ground, store: BlobStore) {
    this.#ground = ground;
    this.#store = store;
  }

  get count(): number {
    return this.#names.size;
  }

  /** Finds out what lies here, on the disk that is there now. */
  async open(): Promise<void> {
    this.#names.clear();
    for (const name of await this.#list()) this.#names.set(fidOf(name), name);
  }

  has(fid: number): boolean {
    return this.#names.has(fid);
  }

  /** Moves a blob here, durably, if it is still the one with this identity. */
  async take(fid: number, identity: string, expected: Content): Promise<boolean> {
    const { directories } = this.#ground;
    await directories.ensure(DIRECTORY);
    const name = `${fid}.${expected.size}.${expected.sha256}`;
    if (!(await this.#store.setAside(fid, identity, this.#path(name)))) return false;
    this.#names.set(fid, name);
    await directories.sync(DIRECTORY);
    return true;
  }

  /**
   * Puts a blob back in its place, durably, if its bytes are right after all: its disk had a fit. Undefined if they are
   * not, or if there is another file in its place already.
   */
  async giveBack(fid: number): Promise<Content | undefined> {
    const name = this.#names.get(fid);
    if (name === undefined) return undefined;
    const [, size, sha256 = ''] = name.split('.');
    const found = await examine(this.#path(name), fid).catch(() => undefined);
    if (found === undefined || !isRight(found, { size: Number(size), sha256 })) return undefined;
    const isBack = await this.#store.takeBack(fid, found, this.#path(name)).catch(() => false);
    if (!isBack) return undefined;
    unlinkSync(this.#path(name));
    this.#names.delete(fid);
    await this.#ground.directories.sync(DIRECTORY);
    return { size: found.size, sha256: found.sha256 };
  }

  /** Removes what has been here for longer than `days`. */
  async purge(days: number): Promise<void> {
    const deadline = Date.now() - days * 86_400_000;
    for (const [fid, name] of this.#names) {
      // The move was the last change to the file's inode.
      if ((await stat(this.#path(name))).ctimeMs >= deadline) continue;
      await unlink(this.#path(name));
      this.#names.delete(fid);
    }
  }

  #path(name: string): string {
    return join(this.#ground.root, DIRECTORY, name);
  }

  async #list(): Promise<string[]> {
    const names = await readdir(join(this.#ground.root, DIRECTORY)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [];
      throw error;
    });
    return names.filter((name) => /^\d+\.\d+\.[0-9a-f]{64}$/.test(name));
  }
}

function fidOf(name: string): number {
  return Number(name.split('.', 1)[0]);
}
