// The volumes of a device: `volumes/0000000001.vol` and so on. Only the last one grows, and only at its end; what is
// written in one is never changed. All that arrives while one write is on its way to the disk is written together.
import { closeSync, constants, fstatSync, ftruncateSync, openSync } from 'node:fs';
import { readdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { assertOnDisk, type Ground } from '../ground.ts';
import { writeAllFully } from '../pieces.ts';
import { Turns } from '../turns.ts';
import { forget } from '../write-file.ts';
import type { Encoded } from './record.ts';
import type { Place } from './slots.ts';

export const DIRECTORY = 'volumes';
/** Most bytes, and parts, that are written at once (IOV_MAX of writev(2) is 1,024). */
const GROUP_BYTES = 4 * 1024 * 1024;
const GROUP_PARTS = 1_000;
/** An end that lies behind everything. */
export const SEALED = Number.MAX_SAFE_INTEGER;

interface Waiting extends Encoded {
  done(place: Place): void;
  failed(error: unknown): void;
}

export class VolumeFiles {
  readonly #ground: Ground;
  readonly #most: number;
  #end: Place = { volume: 0, offset: 0 };
  /** Nothing more is written to this volume. */
  #sealed = -1;
  /** The volume whose name this process has made durable. */
  #named = '';
  readonly #waiting: Waiting[] = [];
  #writing = false;
  /** Writes, and finding out where they go on, one after the other. */
  readonly #turns = new Turns<'end'>();

  /** @param most bytes of a volume, but for the record that reaches them */
  constructor(ground: Ground, most: number) {
    this.#ground = ground;
    this.#most = most;
  }

  /** What the checksums of this device's records begin with. */
  get seed(): number {
    return crc32(this.#ground.uuid() ?? '');
  }

  /** Behind the last record that is durable; volume 0: there is none. */
  get end(): Place {
    return this.#sealed === this.#end.volume ? { volume: this.#sealed, offset: SEALED } : this.#end;
  }

  /**
   * Goes on at the place that `find` answers with. Whatever is behind it in its volume is worth nothing, and is cut off by
   * the next write; thus nothing is written meanwhile.
   */
  open(find: () => Promise<Place>): Promise<void> {
    return this.#turns.take('end', async () => {
      this.#end = await find();
      this.#sealed = -1;
      this.#named = '';
    });
  }

  /** Writes no more to the volume that is written now. */
  seal(): void {
    this.#sealed = this.#end.volume;
  }

  /** Writes a record durably. Records are durable in the order of the calls. */
  append(record: Encoded): Promise<Place> {
    return new Promise((done, failed) => {
      this.#waiting.push({ ...record, done, failed });
      if (this.#writing) return;
      this.#writing = true;
      // What else arrives in this turn of the event loop comes along.
      setImmediate(() => void this.#writeAll());
    });
  }

  /** Numbers and sizes of the volumes, in ascending order. */
  async list(): Promise<{ volume: number; bytes: number }[]> {
    const names = await readdir(join(this.#ground.root, DIRECTORY)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [];
      throw error;
    });
    const volumes = names.flatMap((name) => Number(/^(\d{10})\.vol$/.exec(name)?.[1] ?? 0) || []);
    const sizes = volumes.map(async (volume) => ({ volume, bytes: (await stat(this.path(volume))).size }));
    return (await Promise.all(sizes)).sort((a, b) => a.volume - b.volume);
  }

  /** For reading. It is a plain call: a volume's entry is in memory while anything in it is read. */
  openVolume(volume: number, flags = constants.O_RDONLY): number {
    return openSync(this.path(volume), flags);
  }

  async remove(volume: number): Promise<void> {
    await unlink(this.path(volume));
    await this.#ground.directories.sync(DIRECTORY);
  }

  path(volume: number): string {
    return join(this.#ground.root, DIRECTORY, `${String(volume).padStart(10, '0')}.vol`);
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#nextGroup();
      try {
        let { volume, offset } = await this.#turns.take('end', () => this.#write(group));
        for (const { length, done } of group) {
          done({ volume, offset });
          offset += length;
        }
      } catch (error) {
        for (const { failed } of group) failed(error);
      }
    }
    this.#writing = false;
  }

  /** Makes a volume's name durable, once for each file: also of one that takes the place of another that vanished. */
  async #name(fd: number, volume: number): Promise<void> {
    const identity = `${volume} ${fstatSync(fd).ino}`;
    if (this.#named === identity) return;
    await this.#ground.directories.sync(DIRECTORY);
    this.#named = identity;
  }

  async #writeParts(fd: number, offset: number, group: Waiting[]): Promise<void> {
    try {
      await writeAllFully(
        fd,
        group.flatMap(({ parts }) => parts),
      );
    } catch (error) {
      // On a full disk what was written of it is in the way of others.
      try {
        ftruncateSync(fd, offset);
      } catch {}
      throw error;
    }
  }

  /** What was made in the place of a disk that is gone is removed again. @throws WrongFilesystem */
  #assertOnDisk(fd: number, volume: number): void {
    try {
      assertOnDisk(this.#ground, fd);
    } catch (error) {
      if (fstatSync(fd).size === 0) forget(this.path(volume));
      throw error;
    }
  }

  #nextGroup(): Waiting[] {
    let [count, bytes, parts] = [0, 0, 0];
    for (const record of this.#waiting) {
      bytes += record.length;
      parts += record.parts.length;
      if (count > 0 && (bytes > GROUP_BYTES || parts > GROUP_PARTS)) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  /** Answers with where the group begins. */
  async #write(group: Waiting[]): Promise<Place> {
    const { volume, offset } = this.end;
    const place = volume === 0 || offset >= this.#most ? { volume: volume + 1, offset: 0 } : this.end;
    const { directories } = this.#ground;
    await directories.ensure(DIRECTORY);
    const fd = openSync(
      this.path(place.volume),
      constants.O_CREAT | constants.O_WRONLY | constants.O_APPEND | constants.O_DSYNC,
      0o640,
    );
    try {
      this.#assertOnDisk(fd, place.volume);
      // A write that failed, or was cut off by a crash, may have left something.
      if (fstatSync(fd).size !== place.offset) ftruncateSync(fd, place.offset);
      await this.#writeParts(fd, place.offset, group);
      await this.#name(fd, place.volume);
    } finally {
      closeSync(fd);
    }
    this.#end = {
      volume: place.volume,
      offset: place.offset + group.reduce((sum, { length }) => sum + length, 0),
    };
    return place;
  }
}
