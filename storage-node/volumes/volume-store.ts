// The small blobs of a device, which are appended to volumes: one wait for the disk serves all that arrive together, and
// no file, directory entry or inode is made for each. docs/decisions/volumes.md says why, and what a crash can do.
import { closeSync, existsSync, read } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { failPoint } from '../../services/fail-points.ts';
import { blobDiffers, type Content, type OpenBlob, type PutOptions } from '../blob-store.ts';
import { type Examined, examine } from '../examination.ts';
import type { FilesStore } from '../files-store.ts';
import type { Ground } from '../ground.ts';
import type { Journal } from '../journal.ts';
import { readPieces } from '../pieces.ts';
import { Turns } from '../turns.ts';
import { contentOf } from '../write-file.ts';
import { Checkpoint } from './checkpoint.ts';
import { Compaction } from './compaction.ts';
import { encode, HEAD } from './record.ts';
import { recover } from './recovery.ts';
import { isAt, type Place, type Slot, Slots } from './slots.ts';
import { VolumeFiles } from './volume-files.ts';

const readAsync = promisify(read);

/** Slots are made durable so long after they were changed. */
const CHECKPOINT_MS = 2_000;

export interface VolumeOptions {
  ground: Ground;
  journal: Journal;
  /** Bytes of a volume. */
  most: number;
  /** Told of what fails in the background. */
  onFailure(error: unknown): void;
}

export class VolumeStore {
  readonly #options: VolumeOptions;
  readonly #journal: Journal;
  readonly #files: VolumeFiles;
  readonly #slots: Slots;
  readonly #checkpoint: Checkpoint;
  readonly #compaction: Compaction;
  /** What changes blobs. */
  readonly #changes = new Turns<number>();
  #writable = false;
  #timer: NodeJS.Timeout | undefined;
  #checkpoints: Promise<void> = Promise.resolve();

  constructor(options: VolumeOptions) {
    this.#options = options;
    this.#journal = options.journal;
    this.#files = new VolumeFiles(options.ground, options.most);
    this.#slots = new Slots(options.ground);
    this.#checkpoint = new Checkpoint(options.ground);
    const move = (fid: number, from: Place, bytes: Buffer) => this.#move(fid, from, bytes);
    this.#compaction = new Compaction({
      files: this.#files,
      slots: this.#slots,
      most: options.most,
      move,
      settle: () => this.checkpoint(),
      onFailure: options.onFailure,
    });
  }

  /** Begins anew, on the disk that is there now. @param writable false: what a crash left is mended in memory only */
  async open(writable: boolean): Promise<void> {
    await this.#stop();
    // Those that are not durable yet are not written now, for this may be another disk: recovery makes them anew.
    this.#slots.clear();
    this.#writable = writable;
    const parts = { journal: this.#journal, files: this.#files, slots: this.#slots };
    // A checkpoint waits for it: the end that it would note is not known before.
    const recovered = this.#files.open(async () => recover(parts, await this.#checkpoint.load(), writable));
    this.#checkpoints = recovered;
    await recovered;
    if (writable && this.#slots.dirty > 0) await this.checkpoint();
  }

  /** Makes all slots durable. */
  async close(): Promise<void> {
    await this.#stop();
    if (this.#writable && this.#slots.dirty > 0) await this.checkpoint();
  }

  /** Ends what runs in the background. */
  async #stop(): Promise<void> {
    await this.#compaction.stop();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#checkpoints.catch(() => {});
  }

  /** Undefined if there is no such blob here. */
  async find(fid: number): Promise<Slot | undefined> {
    const slot = await this.#slots.find(fid);
    return slot?.there ? slot : undefined;
  }

  /** As of BlobStore. @param files those that may have the blob already */
  async put(
    fid: number,
    pieces: readonly Buffer[],
    options: PutOptions,
    files: Pick<FilesStore, 'has' | 'confirm'>,
  ): Promise<Content & { existed: boolean }> {
    const content = contentOf(pieces);
    options.accept(content);
    return await this.#changes.take(fid, async () => {
      failPoint('node-write');
      if ((await files.has(fid)) && (await files.confirm(fid, content))) return { ...content, existed: true };
      const { domain, key, class: className } = options.binding;
      const record = { fid, domain, key, class: className, ...content, at: Date.now() };
      if (await this.confirm(fid, content)) {
        if ((await this.#journal.find(fid))?.sha256 !== content.sha256) await this.#journal.add(record);
        return { ...content, existed: true };
      }
      const encoded = encode(record, pieces, this.#files.seed);
      // Before: a record that nobody waits for could come back after a crash, though it was said not to be there.
      await this.#slots.prepare(fid);
      await this.#checkpoint.prepare();
      const place = await this.#files.append(encoded);
      failPoint('node-written');
      const { length } = encoded;
      const slot = { ...place, size: content.size, length, at: record.at, there: true };
      await this.#slots.update(fid, () => slot);
      failPoint('node-linked');
      this.#compaction.changed(fid, slot, 1);
      // Only now: lines about blobs that are not there are dropped when the journal is tidied.
      await this.#journal.add(record);
      this.#checkpointLater();
      return { ...content, existed: false };
    });
  }

  /**
   * For a file that is about to be given a blob's name: does it while no volume gets the blob, or answers false if one has
   * it already.
   * @throws Problem blob-differs
   */
  unlessThere(fid: number, content: Content, name: () => Promise<boolean>): Promise<boolean> {
    return this.#changes.take(fid, async () => ((await this.confirm(fid, content)) ? false : await name()));
  }

  /** As of BlobStore; also for a blob that is to be stored in another way. @throws Problem blob-differs */
  async confirm(fid: number, content: Content): Promise<boolean> {
    if ((await this.find(fid)) === undefined) return false;
    const found = await this.examine(fid).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
    if (found === undefined) return false;
    if (found.sha256 !== content.sha256) throw blobDiffers(fid);
    return true;
  }

  readInto(fid: number, place: Buffer): Promise<boolean> {
    return this.#read(fid, async (fd, slot) => {
      if (slot.size !== place.length - 1) return false;
      const { bytesRead } = await readAsync(fd, place, 0, slot.size, slot.offset + HEAD);
      return bytesRead === slot.size;
    });
  }

  async openBlob(fid: number): Promise<OpenBlob> {
    const [fd, { size, offset }] = await this.#open(fid);
    let isOpen = true;
    const close = () => {
      if (isOpen) closeSync(fd);
      isOpen = false;
    };
    const from = offset + HEAD;
    return {
      size,
      read: ({ start, end }, piece) => readPieces(fd, { start: from + start, end: from + end }, piece),
      close,
    };
  }

  /** Reads it from the disk itself. */
  async examine(fid: number, rest?: (bytes: number) => Promise<void> | void): Promise<Examined> {
    const slot = await this.find(fid);
    if (slot === undefined) throw noSuchBlob(fid);
    const start = slot.offset + HEAD;
    try {
      return await examine(this.#files.path(slot.volume), fid, rest, { start, end: start + slot.size });
    } catch (error) {
      if (!(await this.#wasMoved(fid, slot, error))) throw error;
      return await this.examine(fid, rest);
    }
  }

  /** Removes a blob durably; false if there is none. */
  delete(fid: number): Promise<boolean> {
    return this.#changes.take(fid, () => this.#remove(fid));
  }

  /** Copies a blob's bytes, as far as they can be read, to a new file, and removes it; if it is still that one. */
  setAside(fid: number, identity: string, path: string): Promise<boolean> {
    return this.#changes.take(fid, async () => {
      const slot = await this.find(fid);
      if (slot === undefined || identityOf(slot) !== identity) return false;
      const bytes = Buffer.alloc(slot.size + 1);
      const readable = await this.readInto(fid, bytes).catch(() => false);
      await writeFile(path, readable ? bytes.subarray(0, slot.size) : '', { mode: 0o640, flush: true });
      return await this.#remove(fid);
    });
  }

  async identify(fid: number): Promise<string | undefined> {
    const slot = await this.find(fid);
    return slot && identityOf(slot);
  }

  /**
   * The blobs whose fids belong into the directory that begins with `first`, ascending. A volume that vanished has taken
   * its blobs along. One that was compacted is removed long after the slots say so, thus not between these two steps.
   */
  async list(first: number): Promise<(Slot & { fid: number })[]> {
    const slots = await this.#slots.there(first);
    const volumes = new Set(slots.map(({ volume }) => volume));
    for (const volume of volumes) if (!existsSync(this.#files.path(volume))) volumes.delete(volume);
    return slots.filter(({ volume }) => volumes.has(volume));
  }

  /** As of BlobStore. */
  get deadBytes(): number {
    return this.#compaction.dead;
  }

  /** Takes note of what a directory holds, once for each. */
  counted(first: number, slots: readonly Slot[]): void {
    this.#compaction.counted(first, slots);
  }

  /** All directories were counted: from now on it is known which volumes are worth compacting. */
  allCounted(): void {
    if (this.#writable) this.#compaction.start();
  }

  /** Makes all slots durable, so that recovery need not look at what was written before. */
  checkpoint(): Promise<void> {
    const before = this.#checkpoints;
    this.#checkpoints = before.catch(() => {}).then(() => this.#checkpointNow());
    return this.#checkpoints;
  }

  async #checkpointNow(): Promise<void> {
    const { end } = this.#files;
    if (end.volume === 0) return;
    // Records before that place may still be on their way to their slots.
    await this.#changes.allTaken();
    // Recovery looks no more for lines that are missing.
    await this.#journal.flush();
    await this.#slots.syncAll();
    failPoint('node-slots-synced');
    await this.#checkpoint.save(end);
  }

  #checkpointLater(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.checkpoint().catch(this.#options.onFailure);
    }, CHECKPOINT_MS).unref();
  }

  async #remove(fid: number): Promise<boolean> {
    const before = await this.#slots.find(fid);
    if (before === undefined) return false;
    // Again if the slots were read anew from the disk meanwhile, because the device came back.
    do {
      await this.#slots.update(fid, (slot) => (slot?.there ? { ...slot, there: false } : undefined));
      failPoint('node-unlinked');
      // Also when it is gone already: the change that removed it may not be durable yet.
      await this.#slots.sync(fid);
    } while ((await this.find(fid)) !== undefined);
    failPoint('node-unlink-synced');
    if (!before.there) return false;
    this.#compaction.changed(fid, before, -1);
    // A full disk takes no lines; the scrub drops those about blobs that are not there.
    await this.#journal.removed(fid).catch(() => {});
    return true;
  }

  /** For the compaction: writes a record anew, if it is still where it was read. */
  #move(fid: number, from: Place, bytes: Buffer): Promise<void> {
    return this.#changes.take(fid, async () => {
      const old = await this.#slots.find(fid);
      if (!isAt(old, from)) return;
      const place = await this.#files.append({ parts: [bytes], length: bytes.length });
      failPoint('node-compacted');
      await this.#slots.update(fid, () => ({ ...old, ...place }));
      this.#compaction.changed(fid, { ...old, ...place }, 1);
      this.#compaction.changed(fid, old, -1);
      this.#checkpointLater();
    });
  }

  async #read<T>(fid: number, action: (fd: number, slot: Slot) => Promise<T>): Promise<T> {
    const [fd, slot] = await this.#open(fid);
    try {
      return await action(fd, slot);
    } finally {
      closeSync(fd);
    }
  }

  async #open(fid: number): Promise<[fd: number, Slot]> {
    const slot = await this.find(fid);
    if (slot === undefined) throw noSuchBlob(fid);
    try {
      return [this.#files.openVolume(slot.volume), slot];
    } catch (error) {
      if (!(await this.#wasMoved(fid, slot, error))) throw error;
      return await this.#open(fid);
    }
  }

  /** True if its volume is gone because it was compacted since the slot was read. */
  async #wasMoved(fid: number, slot: Slot, error: unknown): Promise<boolean> {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return false;
    return !isAt(await this.find(fid), slot);
  }
}

function identityOf({ volume, offset }: Place): string {
  return `${volume}:${offset}`;
}

/** As the system says it of a file. */
function noSuchBlob(fid: number): Error {
  return Object.assign(new Error(`there is no blob ${fid}`), { code: 'ENOENT' });
}
