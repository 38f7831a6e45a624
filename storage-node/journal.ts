// The journal of a device: a line for each blob that was stored, with what it was stored for, its digest and the checksums
// of its parts; and one for each that was removed. A file for each directory of blobs, so that nothing about them has to be
// held in memory, however many there are. docs/decisions/journal.md says what a crash can take from it.
import { LRUCache } from 'lru-cache';
import type { Ground } from './ground.ts';
import { type BlobRecord, formatLine, liveRecords } from './journal-record.ts';
import { Segment } from './journal-segment.ts';
import { fidsIn, journalPath, type Leaf, leafOf, leaves } from './layout.ts';
import { Sequence } from './sequence.ts';

/** What was written is made durable this much later. */
const FLUSH_MS = 1_000;
/** So many removals among a directory's thousand fids are worth rewriting its file. */
const MANY_REMOVALS = 250;
/** A file is rewritten when less than this share of it is about blobs that are there. */
const WORTH_KEEPING = 0.75;
/** Bytes of checksum tables that are kept for further ranges of the same blobs. */
const TABLES_BYTES = 4 * 1024 * 1024;

export class Journal {
  readonly sequence: Sequence;
  readonly #ground: Ground;
  readonly #onFailure: (error: unknown) => void;
  readonly #fids: (leaf: Leaf) => Promise<number[]>;
  readonly #segments = new Map<number, Segment>();
  readonly #tables = new LRUCache<number, { sha256: string; table: Buffer }>({
    maxSize: TABLES_BYTES,
    sizeCalculation: ({ table }) => table.length + 200,
  });
  /** Removals in each directory since its file was rewritten; of the directories used last. */
  readonly #removals = new LRUCache<number, number>({ max: 10_000 });
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<void> = Promise.resolve();

  /**
   * @param onFailure is told when what was written could not be made durable
   * @param fids which blobs of a directory are there
   */
  constructor(
    ground: Ground,
    onFailure: (error: unknown) => void,
    fids = (leaf: Leaf) => fidsIn(ground.root, leaf),
  ) {
    this.#ground = ground;
    this.#fids = fids;
    this.#onFailure = onFailure;
    this.sequence = new Sequence(ground);
  }

  /** Begins anew, on the disk that is there now. */
  async open(): Promise<void> {
    // What could not be made durable on a disk that is gone is lost with it.
    await this.close().catch(() => {});
    this.#tables.clear();
    this.#removals.clear();
    await this.sequence.load();
  }

  /** Resolves when a killed process cannot lose the record any more; a power cut can take the last second's. */
  add(record: BlobRecord): Promise<void> {
    this.#tables.delete(record.fid);
    return this.#append(record.fid, formatLine(record));
  }

  async removed(fid: number): Promise<void> {
    this.#tables.delete(fid);
    await this.#append(fid, formatLine({ fid, removed: Date.now() }));
    const first = leafOf(fid);
    const removals = (this.#removals.get(first) ?? 0) + 1;
    this.#removals.set(first, removals);
    if (removals >= MANY_REMOVALS) this.tidy(first).catch(this.#onFailure);
  }

  async find(fid: number): Promise<BlobRecord | undefined> {
    return (await this.read(leafOf(fid))).get(fid);
  }

  /** The records of the directory that begins with this fid. */
  async read(first: number): Promise<Map<number, BlobRecord>> {
    return liveRecords(await this.#segment(first).read());
  }

  /** The checksums of a large blob's blocks (see checksums.ts); undefined if none are on record for this content. */
  async checksums(fid: number, sha256: string): Promise<Buffer | undefined> {
    const known = this.#tables.get(fid);
    if (known !== undefined) return known.sha256 === sha256 ? known.table : undefined;
    const record = await this.find(fid);
    if (record?.crc === undefined) return undefined;
    const table = Buffer.from(record.crc, 'base64');
    this.#tables.set(fid, { sha256: record.sha256, table });
    return record.sha256 === sha256 ? table : undefined;
  }

  /** The records of the blobs that are there, above a fid, in ascending order. */
  async *records(after: number): AsyncGenerator<BlobRecord> {
    const { root } = this.#ground;
    for await (const leaf of leaves(root, after + 1)) {
      const records = await this.read(leaf.first);
      for (const fid of await this.#fids(leaf)) {
        const record = records.get(fid);
        if (record !== undefined && fid > after) yield record;
      }
    }
  }

  /** Drops the lines about blobs that are gone, and repeated ones, from a directory's file if there are many. */
  tidy(first: number): Promise<void> {
    this.#removals.delete(first);
    const leaf: Leaf = { directory: journalPath(first).slice('journal/'.length, -'.log'.length), first };
    return this.#segment(first).rewrite(async (text) => {
      if (text === '') return undefined;
      const records = liveRecords(text);
      // Only now, after the lines were read: whatever they speak of was there before.
      const there = (await this.#fids(leaf)).flatMap((fid) => records.get(fid) ?? []);
      const tidied = there.map(formatLine).join('');
      return tidied.length < text.length * WORTH_KEEPING ? tidied : undefined;
    });
  }

  /** Makes all lines durable, and closes the files that nobody used since the last time. */
  flush(): Promise<void> {
    const before = this.#flushing;
    this.#flushing = before.catch(() => {}).then(() => this.#flushNow());
    return this.#flushing;
  }

  /** Makes all of it durable and closes its files. */
  async close(): Promise<void> {
    await this.flush().finally(() => {
      clearTimeout(this.#timer);
      this.#timer = undefined;
    });
    const open = [...this.#segments.values()];
    this.#segments.clear();
    await Promise.all(open.map((segment) => segment.close()));
  }

  #append(fid: number, line: string): Promise<void> {
    return this.#segment(leafOf(fid)).append(line);
  }

  #segment(first: number): Segment {
    let segment = this.#segments.get(first);
    if (segment === undefined) {
      segment = new Segment(this.#ground, journalPath(first));
      this.#segments.set(first, segment);
    }
    this.#flushLater();
    return segment;
  }

  #flushLater(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.flush().catch(this.#onFailure);
    }, FLUSH_MS).unref();
  }

  async #flushNow(): Promise<void> {
    let wrote = false;
    const work: Promise<void>[] = [];
    for (const [first, segment] of this.#segments) {
      if (segment.idle) {
        // Nothing is under way in it, and from here on nobody finds it.
        this.#segments.delete(first);
        work.push(segment.close());
      } else {
        wrote ||= segment.dirty;
        segment.used = false;
        work.push(segment.sync());
      }
    }
    await Promise.all(work);
    if (wrote) await this.sequence.next();
    if (this.#segments.size > 0) this.#flushLater();
  }
}
