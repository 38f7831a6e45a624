// The blobs of a device that are a file each: those that are too large for volumes, or of unknown length. (BlobStore says
// what the methods promise.) A blob is written under a temporary name, made durable, and then linked to its own name, which
// fails if that is taken: a fid never changes its bytes.
//
// What waits for the disk is asynchronous. Making, linking and unlinking the file of a write only changes directories
// that are in memory: those are plain calls, because handing one to a thread costs more than what it does itself
// (in a profile of small writes, over a third of the main thread's time).
import { randomUUID } from 'node:crypto';
import { closeSync, fdatasync, fstat, linkSync, open, read, renameSync, statSync, unlink } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LRUCache } from 'lru-cache';
import { failPoint } from '../services/fail-points.ts';
import type { Binding } from '../services/tickets.ts';
import { blobDiffers, type Content, type ListedBlob, type OpenBlob, type PutOptions } from './blob-store.ts';
import type { DirectorySync } from './directory-sync.ts';
import { type Examined, examine } from './examination.ts';
import type { Ground } from './ground.ts';
import type { Journal } from './journal.ts';
import { blobDirectory, blobPath, fidsIn, type Leaf, leafOf } from './layout.ts';
import { readPieces } from './pieces.ts';
import { forget, type Stored, writeFile } from './write-file.ts';

const [openAsync, readAsync, unlinkAsync] = [promisify(open), promisify(read), promisify(unlink)];
const [fdatasyncAsync, fstatAsync] = [promisify(fdatasync), promisify(fstat)];

const TEMPORARY = 'tmp';

export class FilesStore {
  readonly #ground: Ground;
  readonly #root: string;
  readonly #directories: DirectorySync;
  readonly #journal: Journal;
  readonly #session = randomUUID();
  #writes = 0;
  /**
   * The fids that have a file, of the directories that `has` was asked about last. To look for each name would take the
   * kernel longer than all else that a small write asks of it: it knows by heart only the names that are there.
   */
  readonly #fids = new LRUCache<number, Promise<Set<number>>>({ max: 128 });

  constructor(ground: Ground, journal: Journal) {
    this.#ground = ground;
    this.#root = ground.root;
    this.#directories = ground.directories;
    this.#journal = journal;
  }

  async open(writable: boolean): Promise<void> {
    this.#directories.distrust();
    this.#fids.clear();
    if (!writable) return;
    await this.#directories.ensure(TEMPORARY);
    for (const name of await readdir(join(this.#root, TEMPORARY))) {
      // Names of this session may be writes that are still under way.
      if (!name.includes(this.#session)) await unlinkAsync(join(this.#root, TEMPORARY, name));
    }
  }

  /** True if it may have a file: one that vanished behind our back is known for some time. */
  async has(fid: number): Promise<boolean> {
    const first = leafOf(fid);
    const known = this.#fids.get(first) ?? this.#readFids(first);
    return (await known).has(fid);
  }

  #readFids(first: number): Promise<Set<number>> {
    const read = async () => {
      try {
        return new Set(await fidsIn(this.#root, { directory: blobDirectory(first), first }));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        // It may be there in a moment, with its disk.
        this.#fids.delete(first);
        return new Set<number>();
      }
    };
    const fids = read();
    this.#fids.set(first, fids);
    fids.catch(() => this.#fids.delete(first));
    return fids;
  }

  /** @param name runs what gives the blob its name, or answers with false if it has one elsewhere */
  async put(
    fid: number,
    body: Buffer | readonly Buffer[] | AsyncIterable<Uint8Array>,
    options: PutOptions,
    name: (content: Content, link: () => Promise<boolean>) => Promise<boolean>,
  ) {
    const directory = blobDirectory(fid);
    const ready = this.#directories.ensure(directory);
    // Its failure is met below; it must not count as unhandled if the write fails before.
    ready.catch(() => {});
    const temporary = join(this.#root, TEMPORARY, `${fid}.${this.#session}.${++this.#writes}`);
    try {
      failPoint('node-write');
      const content = await writeFile(this.#ground, temporary, body, options);
      await ready;
      failPoint('node-written');
      const existed = !(await name(content, () => this.#link(temporary, fid, directory)));
      failPoint('node-linked');
      if (existed) await this.confirm(fid, content);
      // At the same time: the line costs no wait of its own.
      await Promise.all([
        existed ? undefined : this.#directories.sync(directory),
        this.#keepRecord(fid, content, options.binding, existed),
      ]);
      failPoint('node-synced');
      return { size: content.size, sha256: content.sha256, existed };
    } finally {
      forget(temporary);
    }
  }

  async #keepRecord(fid: number, content: Stored, binding: Binding, existed: boolean): Promise<void> {
    if (existed && (await this.#journal.find(fid))?.sha256 === content.sha256) return;
    const { domain, key, class: className } = binding;
    await this.#journal.add({ fid, domain, key, class: className, ...content, at: Date.now() });
  }

  /** False if the fid has a file already. */
  async #link(temporary: string, fid: number, directory: string): Promise<boolean> {
    const path = join(this.#root, blobPath(fid));
    try {
      this.#name(temporary, path, fid);
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') return false;
      if (code !== 'ENOENT') throw error;
    }
    // Somebody removed the directory that was made before.
    this.#directories.distrust();
    await this.#directories.ensure(directory);
    this.#name(temporary, path, fid);
    return true;
  }

  #name(temporary: string, path: string, fid: number): void {
    linkSync(temporary, path);
    // At once, also while the directory is being read; if that fails, it is read anew.
    this.#fids.get(leafOf(fid))?.then(
      (fids) => fids.add(fid),
      () => {},
    );
  }

  async confirm(fid: number, content: Content): Promise<boolean> {
    const present = await this.examine(fid).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (present === undefined) return false;
    if (present.sha256 !== content.sha256) throw blobDiffers(fid);
    // The write that made it may have failed after the link, before it was durable.
    const fd = await openAsync(join(this.#root, blobPath(fid)), 'r');
    try {
      await fdatasyncAsync(fd);
    } finally {
      closeSync(fd);
    }
    await this.#directories.ensure(blobDirectory(fid));
    await this.#directories.sync(blobDirectory(fid));
    return true;
  }

  async readInto(fid: number, place: Buffer): Promise<boolean> {
    const fd = await openAsync(join(this.#root, blobPath(fid)), 'r');
    try {
      // One byte more than expected shows a file that is too long, without asking for its size.
      const { bytesRead } = await readAsync(fd, place, 0, place.length, 0);
      return bytesRead === place.length - 1;
    } finally {
      closeSync(fd);
    }
  }

  async openBlob(fid: number): Promise<OpenBlob> {
    const fd = await openAsync(join(this.#root, blobPath(fid)), 'r');
    let isOpen = true;
    const close = () => {
      if (isOpen) closeSync(fd);
      isOpen = false;
    };
    try {
      const { size } = await fstatAsync(fd);
      return { size, read: (range, piece) => readPieces(fd, range, piece), close };
    } catch (error) {
      close();
      throw error;
    }
  }

  async delete(fid: number): Promise<boolean> {
    const directory = blobDirectory(fid);
    let existed = true;
    await unlinkAsync(join(this.#root, blobPath(fid))).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      existed = false;
    });
    failPoint('node-unlinked');
    // Also when it is gone already: the unlink that removed it may not be durable yet.
    await this.#directories.sync(directory).catch((error: NodeJS.ErrnoException) => {
      if (existed || error.code !== 'ENOENT') throw error;
    });
    failPoint('node-unlink-synced');
    // A full disk takes no lines; the scrub drops those about files that are not there.
    if (existed) await this.#journal.removed(fid).catch(() => {});
    return existed;
  }

  /** The blobs of one directory, ascending: up to `limit` above `after`. */
  async list(leaf: Leaf, after: number, limit: number): Promise<ListedBlob[]> {
    const fids = (await fidsIn(this.#root, leaf)).filter((fid) => fid > after);
    const found = await Promise.all(fids.slice(0, limit).map((fid) => this.#describe(fid)));
    return found.filter((blob) => blob !== undefined);
  }

  async #describe(fid: number): Promise<ListedBlob | undefined> {
    try {
      const { size, mtimeMs } = await stat(join(this.#root, blobPath(fid)));
      return { fid, size, at: Math.floor(mtimeMs) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  examine(fid: number, rest?: (bytes: number) => Promise<void> | void): Promise<Examined> {
    return examine(join(this.#root, blobPath(fid)), fid, rest);
  }

  async identify(fid: number): Promise<string> {
    return String((await stat(join(this.#root, blobPath(fid)))).ino);
  }

  /** As of BlobStore, but that no volume has it. */
  async takeBack(fid: number, path: string): Promise<boolean> {
    const directory = blobDirectory(fid);
    await this.#directories.ensure(directory);
    if (!(await this.#link(path, fid, directory))) return false;
    await this.#directories.sync(directory);
    return true;
  }

  /** As of BlobStore. */
  async setAside(fid: number, identity: string, path: string): Promise<boolean> {
    const from = join(this.#root, blobPath(fid));
    // Two plain calls with nothing in between: no other write of this process can put a good copy in its place.
    if (String(statSync(from, { throwIfNoEntry: false })?.ino) !== identity) return false;
    renameSync(from, path);
    await this.#directories.sync(blobDirectory(fid));
    return true;
  }
}
