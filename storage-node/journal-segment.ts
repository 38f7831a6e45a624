// One file of the journal: the lines about the blobs of one directory. What is done with it happens one after the other;
// lines that arrive meanwhile are written together.
import { closeSync, constants, fdatasync, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { assertOnDisk, type Ground } from './ground.ts';
import { writeFully } from './pieces.ts';

const fdatasyncAsync = promisify(fdatasync);
const NEWLINE = 10;

export class Segment {
  /** Lines were written that may not be on the disk yet. */
  dirty = false;
  /** It was used since the journal's last flush. */
  used = true;
  readonly #ground: Ground;
  readonly #directory: string;
  readonly #path: string;
  #fd: number | undefined;
  /** The file is new, and the directory's entry of it not durable yet. */
  #isNew = false;
  #pending: string[] = [];
  /** The write that takes what is pending. */
  #next: Promise<void> | undefined;
  #running = 0;
  /** Ends with what was begun last; never fails. */
  #last: Promise<unknown> = Promise.resolve();

  /** @param path of the file, relative to the device */
  constructor(ground: Ground, path: string) {
    this.#ground = ground;
    this.#directory = dirname(path);
    this.#path = join(ground.root, path);
  }

  /** Resolves when the line is with the kernel: a killed process cannot lose it any more. */
  append(line: string): Promise<void> {
    this.used = true;
    this.#pending.push(line);
    this.#next ??= this.#exclusive(() => this.#write());
    return this.#next;
  }

  /** All lines; '' if there is no file. */
  read(): Promise<string> {
    this.used = true;
    return this.#exclusive(() => this.#readNow());
  }

  /** Makes what was written durable. */
  sync(): Promise<void> {
    return this.#exclusive(async () => {
      if (!this.dirty || this.#fd === undefined) return;
      this.dirty = false;
      await fdatasyncAsync(this.#fd);
      if (this.#isNew) await this.#ground.directories.sync(this.#directory);
      this.#isNew = false;
    });
  }

  /**
   * Replaces the file by what `choose` makes of its lines, durably, or leaves it as it is if that is undefined. A crash
   * leaves the old file or the new one.
   */
  rewrite(choose: (text: string) => Promise<string | undefined>): Promise<void> {
    this.used = true;
    return this.#exclusive(async () => {
      const text = await choose(await this.#readNow());
      if (text === undefined) return;
      const unfinished = `${this.#path}.new`;
      const file = await open(unfinished, 'w', 0o640);
      try {
        assertOnDisk(this.#ground, file.fd);
        await file.writeFile(text);
        await file.sync();
      } finally {
        await file.close();
      }
      this.#drop();
      if (text === '') await rm(this.#path, { force: true });
      else await rename(unfinished, this.#path);
      await rm(unfinished, { force: true });
      await this.#ground.directories.sync(this.#directory);
    });
  }

  /** Syncs and closes the file; it is opened again when it is needed. */
  async close(): Promise<void> {
    await this.sync();
    await this.#exclusive(async () => this.#drop());
  }

  /** Nobody uses it, nor has since the flush before. */
  get idle(): boolean {
    return !this.used && this.#running === 0;
  }

  #exclusive<T>(action: () => Promise<T>): Promise<T> {
    this.#running++;
    const done = this.#last.then(action).finally(() => {
      this.#running--;
    });
    this.#last = done.catch(() => {});
    return done;
  }

  async #write(): Promise<void> {
    const lines = this.#pending.join('');
    this.#pending = [];
    this.#next = undefined;
    this.dirty = true;
    try {
      this.#fd ??= await this.#open();
      await writeFully(this.#fd, Buffer.from(lines));
    } catch (error) {
      // A part may have been written; opening the file again cuts it off.
      this.#drop();
      throw error;
    }
  }

  async #open(): Promise<number> {
    await this.#ground.directories.ensure(this.#directory);
    const fd = openSync(this.#path, constants.O_CREAT | constants.O_RDWR | constants.O_APPEND, 0o640);
    try {
      assertOnDisk(this.#ground, fd);
      this.#isNew = fstatSync(fd).size === 0;
      cutTornTail(fd);
      return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  async #readNow(): Promise<string> {
    return await readFile(this.#path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return '';
      throw error;
    });
  }

  #drop(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/** A crash can leave half a line at the end: what follows must not be glued to it. */
function cutTornTail(fd: number): void {
  const { size } = fstatSync(fd);
  const piece = Buffer.allocUnsafe(4096);
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - piece.length);
    const read = readSync(fd, piece, 0, end - start, start);
    const newline = piece.subarray(0, read).lastIndexOf(NEWLINE);
    if (newline >= 0 || start === 0) {
      const good = newline < 0 ? 0 : start + newline + 1;
      if (good < size) ftruncateSync(fd, good);
      return;
    }
    end = start;
  }
}
