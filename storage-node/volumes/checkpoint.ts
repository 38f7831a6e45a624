// How far the slots of a device are known to be durable: recovery reads the volumes from there on.
import { closeSync, constants, fdatasync, fstatSync, openSync, writeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { assertOnDisk, type Ground } from '../ground.ts';
import { frame, unframe } from '../journal-record.ts';
import type { Place } from './slots.ts';
import { DIRECTORY } from './volume-files.ts';

const fdatasyncAsync = promisify(fdatasync);

const FILE = `${DIRECTORY}/checkpoint`;
/** Two places that are written in turn, each within a sector: a torn write leaves the other, and a full disk has both. */
const PLACE = 512;

export class Checkpoint {
  readonly #ground: Ground;
  #turn = 0;
  #isNamed = false;

  constructor(ground: Ground) {
    this.#ground = ground;
  }

  /** The beginning of the first volume if none was kept, or all are damaged. */
  async load(): Promise<Place> {
    const text = await readFile(join(this.#ground.root, FILE), 'utf8').catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return '';
        throw error;
      },
    );
    let last: Place = { volume: 1, offset: 0 };
    this.#turn = 0;
    this.#isNamed = false;
    for (const kept of unframe<Place & { turn: number }>(text)) {
      if (kept.turn < this.#turn) continue;
      last = { volume: kept.volume, offset: kept.offset };
      this.#turn = kept.turn;
    }
    return last;
  }

  /** Makes the file, if it is not there: a full disk has no place for it. */
  async prepare(): Promise<void> {
    if (this.#turn === 0) await this.save({ volume: 1, offset: 0 });
  }

  /** Keeps it, durably. */
  async save({ volume, offset }: Place): Promise<void> {
    const { root, directories } = this.#ground;
    await directories.ensure(DIRECTORY);
    const fd = openSync(join(root, FILE), constants.O_CREAT | constants.O_WRONLY, 0o640);
    try {
      assertOnDisk(this.#ground, fd);
      const isNew = fstatSync(fd).size === 0;
      const turn = this.#turn + 1;
      const line = frame({ turn, volume, offset }).padStart(PLACE, '\n');
      for (const place of isNew ? [0, 1] : [turn % 2]) writeSync(fd, line, place * PLACE);
      await fdatasyncAsync(fd);
      // Once in a process: one before it may have died in between.
      if (!this.#isNamed) await directories.sync(DIRECTORY);
      this.#isNamed = true;
      this.#turn = turn;
    } finally {
      closeSync(fd);
    }
  }
}
