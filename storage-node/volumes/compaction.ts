// Gives back the space of what was removed: a volume of which a good part is dead is read, what is alive is written anew
// at the end of the last one, and its file is removed.
import { hash } from 'node:crypto';
import { failPoint } from '../../services/fail-points.ts';
import { FIDS_A_DIRECTORY } from '../layout.ts';
import { Moves } from './moves.ts';
import { readRecords, type VolumeRecord } from './read-records.ts';
import { HEAD } from './record.ts';
import { isAt, type Place, type Slot, type Slots } from './slots.ts';
import { SEALED, type VolumeFiles } from './volume-files.ts';

/** A volume is compacted when so much of it is dead. */
const DEAD_SHARE = 1 / 3;
/** The one that is written is given up for that if it has this share of its size. */
const WORTH_SEALING = 1 / 16;
/** It looks so long after something was removed. */
const LOOK_MS = 1_000;
export interface CompactionOptions {
  files: VolumeFiles;
  slots: Slots;
  /** Bytes of a volume. */
  most: number;
  /** Writes a record anew if the blob is still there, and that is it. */
  move(fid: number, from: Place, bytes: Buffer): Promise<void>;
  /** Makes all slots durable. */
  settle(): Promise<void>;
  onFailure(error: unknown): void;
}

export class Compaction {
  readonly #options: CompactionOptions;
  /** Bytes of records that are alive, by volume. */
  readonly #alive = new Map<number, number>();
  /** Volumes with a damaged record: they stay until the scrub has put that aside. */
  readonly #damaged = new Set<number>();
  #countedBefore = 0;
  #dead = 0;
  #running: Promise<void> | undefined;
  #wanted = false;
  #timer: NodeJS.Timeout | undefined;
  #stopped = true;

  constructor(options: CompactionOptions) {
    this.#options = options;
  }

  /** Bytes of what was removed, which are still on the disk, when it looked last. */
  get dead(): number {
    return this.#dead;
  }

  /** Begins with directory 0 anew. */
  counted(first: number, slots: readonly Slot[]): void {
    if (first < this.#countedBefore) this.#alive.clear();
    for (const { volume, length } of slots) this.#add(volume, length);
    this.#countedBefore = first + FIDS_A_DIRECTORY;
  }

  start(): void {
    this.#countedBefore = Number.POSITIVE_INFINITY;
    this.#stopped = false;
    this.#later();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#running;
    this.#alive.clear();
    this.#damaged.clear();
    this.#countedBefore = 0;
  }

  /** A record has become alive, or is dead now. */
  changed(fid: number, { volume, length }: Slot, by: 1 | -1): void {
    if (fid < this.#countedBefore) this.#add(volume, by * length);
    if (by === -1) {
      this.#damaged.delete(volume);
      this.#later();
    }
  }

  #add(volume: number, bytes: number): void {
    this.#alive.set(volume, (this.#alive.get(volume) ?? 0) + bytes);
  }

  #later(): void {
    this.#wanted = true;
    if (this.#stopped || this.#running !== undefined) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#wanted = false;
      this.#running = this.#run()
        .catch(this.#options.onFailure)
        .finally(() => {
          this.#running = undefined;
          if (this.#wanted) this.#later();
        });
    }, LOOK_MS).unref();
  }

  /** What fails with one volume does not keep others from being compacted, which may make the space that it lacks. */
  async #run(): Promise<void> {
    const failures: unknown[] = [];
    for (const { volume, bytes } of await this.#look()) {
      if (this.#stopped) return;
      if (this.#isWorthIt(volume, bytes)) await this.#compact(volume).catch((error) => failures.push(error));
    }
    await this.#look();
    if (failures.length > 0) throw failures[0];
  }

  async #look() {
    const volumes = await this.#options.files.list();
    this.#dead = volumes.reduce((sum, { volume, bytes }) => sum + this.#deadIn(volume, bytes), 0);
    return volumes;
  }

  #deadIn(volume: number, bytes: number): number {
    return bytes - (this.#alive.get(volume) ?? 0);
  }

  #isWorthIt(volume: number, bytes: number): boolean {
    const { files, most } = this.#options;
    if (this.#deadIn(volume, bytes) < bytes * DEAD_SHARE || this.#damaged.has(volume)) return false;
    if (volume !== files.end.volume || files.end.offset === SEALED) return true;
    if (bytes < most * WORTH_SEALING) return false;
    files.seal();
    return true;
  }

  async #compact(volume: number): Promise<void> {
    const { files, slots, settle } = this.#options;
    // Records that were written last may still be on their way to their slots, and would be taken for dead. And recovery
    // must know that the number was used.
    await settle();
    const moves = new Moves();
    try {
      for await (const record of readRecords(files, volume, 0)) {
        if (this.#stopped || moves.failure !== undefined) break;
        if (!isAt(await slots.find(record.head.fid), { volume, offset: record.offset })) continue;
        // Its bytes are in a window that is used again.
        const copy = { ...record, bytes: Buffer.from(record.bytes) };
        await moves.add(copy.bytes.length, () => this.#move(volume, copy));
      }
    } finally {
      await moves.end();
    }
    // What is damaged, or cannot be read, was passed over; of some only the head is bad, and the blob can be read.
    if ((this.#alive.get(volume) ?? 0) > 0) this.#damaged.add(volume);
    if (this.#stopped || this.#damaged.has(volume)) return;
    failPoint('node-volume-moved');
    // Slots on the disk may still speak of it; what was moved is behind the checkpoint, so that recovery corrects them.
    await files.remove(volume);
    this.#alive.delete(volume);
  }

  async #move(volume: number, { offset, head, bytes }: VolumeRecord): Promise<void> {
    const blob = bytes.subarray(HEAD, HEAD + head.size);
    if (hash('sha256', blob, 'hex') !== head.sha256) this.#damaged.add(volume);
    else await this.#options.move(head.fid, { volume, offset }, bytes);
  }
}
