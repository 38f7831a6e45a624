// A number that only grows, kept on the device itself and told to the trackers: a disk whose number is lower than what
// they have heard before was set back (a snapshot, an old image).
import { randomUUID } from 'node:crypto';
import { constants, fdatasync } from 'node:fs';
import { open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { assertOnDisk, type Ground } from './ground.ts';
import { frame, unframe } from './journal-record.ts';

const fdatasyncAsync = promisify(fdatasync);

const FILE = 'cistern-sequence';
/**
 * Where the file is made. The journal's lines were written below before, so this directory is there on the right disk,
 * and not on an empty one that stands in its place.
 */
const WORKSHOP = 'journal';
/** Two places that are written in turn, each within a sector: a torn write leaves the number before. */
const SLOT = 512;

export class Sequence {
  readonly #path: string;
  readonly #ground: Ground;
  #value = 0;

  constructor(ground: Ground) {
    this.#path = join(ground.root, FILE);
    this.#ground = ground;
  }

  /** The number that is on the disk, 0 before the first. */
  get value(): number {
    return this.#value;
  }

  async load(): Promise<void> {
    const text = await readFile(this.#path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return '';
      throw error;
    });
    this.#value = Math.max(0, ...unframe<number>(text));
  }

  /** Counts on, durably. */
  async next(): Promise<void> {
    const value = this.#value + 1;
    const isNew = this.#value === 0;
    const path = isNew ? join(this.#ground.root, WORKSHOP, `${FILE}.${randomUUID()}`) : this.#path;
    const file = await open(path, constants.O_RDWR | (isNew ? constants.O_CREAT : 0), 0o640);
    try {
      assertOnDisk(this.#ground, file.fd);
      await file.write(frame(value).padStart(SLOT, '\n'), (value % 2) * SLOT);
      await fdatasyncAsync(file.fd);
    } finally {
      await file.close();
    }
    if (isNew) {
      await rename(path, this.#path);
      await this.#ground.directories.sync('');
    }
    this.#value = value;
  }
}
