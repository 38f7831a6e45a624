// The 'files' layout: one file for each blob. A blob is written under a temporary name, made durable, and then linked
// to its own name, which fails if that is taken: a fid never changes its bytes.
//
// What waits for the disk is asynchronous. Making, linking and unlinking the file of a write only changes directories
// that are in memory: those are plain calls, because handing one to a thread costs more than what it does itself
// (in a profile of small writes, over a third of the main thread's time).
import { createHash, randomUUID } from 'node:crypto';
import { closeSync, fdatasync, fstat, linkSync, open, read, unlink } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { failPoint } from '../services/fail-points.ts';
import { Problem } from '../services/problems.ts';
import type { Binding } from '../services/tickets.ts';
import type { BlobStore, Content, ListedBlob, OpenBlob, PutOptions } from './blob-store.ts';
import { readDirect } from './direct-read.ts';
import type { DirectorySync } from './directory-sync.ts';
import type { Ground } from './ground.ts';
import type { Journal } from './journal.ts';
import { blobDirectory, blobPath, FIDS_A_DIRECTORY, fidsIn, leaves } from './layout.ts';
import { readPieces } from './pieces.ts';
import { forget, type Stored, writeFile } from './write-file.ts';

const [openAsync, readAsync, unlinkAsync] = [promisify(open), promisify(read), promisify(unlink)];
const [fdatasyncAsync, fstatAsync] = [promisify(fdatasync), promisify(fstat)];

const TEMPORARY = 'tmp';

export class FilesStore implements BlobStore {
  readonly #ground: Ground;
  readonly #root: string;
  readonly #directories: DirectorySync;
  readonly #journal: Journal;
  readonly #session = randomUUID();
  #writes = 0;

  constructor(ground: Ground, journal: Journal) {
    this.#ground = ground;
    this.#root = ground.root;
    this.#directories = ground.directories;
    this.#journal = journal;
  }

  async open(): Promise<void> {
    this.#directories.distrust();
    await this.#directories.ensure(TEMPORARY);
    for (const name of await readdir(join(this.#root, TEMPORARY))) {
      // Names of this session may be writes that are still under way.
      if (!name.includes(this.#session)) await unlinkAsync(join(this.#root, TEMPORARY, name));
    }
  }

  async put(fid: number, body: Buffer | readonly Buffer[] | AsyncIterable<Uint8Array>, options: PutOptions) {
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
      const existed = !(await this.#link(temporary, fid, directory));
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
      linkSync(temporary, path);
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') return false;
      if (code !== 'ENOENT') throw error;
    }
    // Somebody removed the directory that was made before.
    this.#directories.distrust();
    await this.#directories.ensure(directory);
    linkSync(temporary, path);
    return true;
  }

  async confirm(fid: number, content: Content): Promise<boolean> {
    const present = await this.verify(fid).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (present === undefined) return false;
    if (present.sha256 !== content.sha256) {
      throw new Problem(
        'blob-differs',
        `Blob ${fid} is there with other bytes; a fid is never written twice.`,
      );
    }
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

  async readWhole(fid: number, size: number): Promise<Buffer | undefined> {
    const place = Buffer.allocUnsafeSlow(size + 1);
    return (await this.readInto(fid, place)) ? place.subarray(0, size) : undefined;
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

  async list(after: number, limit: number): Promise<ListedBlob[]> {
    const listed: ListedBlob[] = [];
    for await (const leaf of leaves(this.#root, after + 1)) {
      const fids = (await fidsIn(this.#root, leaf)).filter((fid) => fid > after);
      const found = await Promise.all(fids.slice(0, limit - listed.length).map((fid) => this.#describe(fid)));
      listed.push(...found.filter((blob) => blob !== undefined));
      if (listed.length >= limit) break;
    }
    return listed;
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

  async verify(fid: number): Promise<Content> {
    const digest = createHash('sha256');
    const size = await readDirect(join(this.#root, blobPath(fid)), (piece) => digest.update(piece));
    return { size, sha256: digest.digest('hex') };
  }

  async highestFid(): Promise<number> {
    for await (const leaf of leaves(this.#root, 0, 'descending')) {
      const highest = (await fidsIn(this.#root, leaf)).at(-1);
      if (highest !== undefined) return highest;
    }
    return 0;
  }

  async count(seen: (blobs: number, before: number) => void, signal: AbortSignal): Promise<void> {
    for await (const leaf of leaves(this.#root)) {
      if (signal.aborted) return;
      const fids = await fidsIn(this.#root, leaf);
      seen(fids.length, leaf.first + FIDS_A_DIRECTORY);
    }
  }
}
