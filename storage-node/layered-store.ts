// A device's blobs: small ones in volumes, all others a file each. Which of the two has a blob is found by looking, so that
// the bound between them can be changed at any time, and files that MogileFS wrote can be adopted.
import type { BlobStore, Content, ListedBlob, PutOptions } from './blob-store.ts';
import { FilesStore } from './files-store.ts';
import type { Ground } from './ground.ts';
import type { Journal } from './journal.ts';
import { FIDS_A_DIRECTORY, fidsIn, type Leaf, leaves } from './layout.ts';
import { VolumeStore } from './volumes/volume-store.ts';
import { lengthOf } from './write-file.ts';

export interface VolumeSettings {
  /** Blobs up to so many bytes are stored in volumes; 0: none. */
  upTo: number;
  /** Bytes of a volume. */
  most: number;
}

interface LayeredOptions extends VolumeSettings {
  ground: Ground;
  journal: Journal;
  onFailure(error: unknown): void;
}

type Body = Buffer | readonly Buffer[] | AsyncIterable<Uint8Array>;

export class LayeredStore implements BlobStore {
  readonly #root: string;
  readonly #upTo: number;
  readonly #files: FilesStore;
  readonly #volumes: VolumeStore;

  constructor({ upTo, ...options }: LayeredOptions) {
    this.#root = options.ground.root;
    this.#upTo = upTo;
    this.#files = new FilesStore(options.ground, options.journal);
    this.#volumes = new VolumeStore(options);
  }

  get deadBytes(): number {
    return this.#volumes.deadBytes;
  }

  async open(writable: boolean): Promise<void> {
    await this.#files.open(writable);
    await this.#volumes.open(writable);
  }

  close(): Promise<void> {
    return this.#volumes.close();
  }

  async put(fid: number, body: Body, options: PutOptions): Promise<Content & { existed: boolean }> {
    const parts = Buffer.isBuffer(body) ? [body] : body;
    if (!(Symbol.asyncIterator in parts) && this.#fits(lengthOf(parts))) {
      return await this.#volumes.put(fid, parts, options, this.#files);
    }
    return await this.#files.put(fid, parts, options, (content, link) =>
      this.#volumes.unlessThere(fid, content, link),
    );
  }

  async confirm(fid: number, content: Content): Promise<boolean> {
    return (await this.#volumes.confirm(fid, content)) || (await this.#files.confirm(fid, content));
  }

  async readWhole(fid: number, size: number): Promise<Buffer | undefined> {
    const place = Buffer.allocUnsafeSlow(size + 1);
    return (await this.readInto(fid, place)) ? place.subarray(0, size) : undefined;
  }

  async readInto(fid: number, place: Buffer): Promise<boolean> {
    return await (await this.#with(fid)).readInto(fid, place);
  }

  async openBlob(fid: number) {
    return await (await this.#with(fid)).openBlob(fid);
  }

  async examine(fid: number, rest?: (bytes: number) => Promise<void> | void) {
    return await (await this.#with(fid)).examine(fid, rest);
  }

  async identify(fid: number): Promise<string> {
    return (await this.#volumes.identify(fid)) ?? (await this.#files.identify(fid));
  }

  async setAside(fid: number, identity: string, path: string): Promise<boolean> {
    return await (await this.#with(fid)).setAside(fid, identity, path);
  }

  takeBack(fid: number, content: Content, path: string): Promise<boolean> {
    return this.#volumes.unlessThere(fid, content, () => this.#files.takeBack(fid, path));
  }

  async delete(fid: number): Promise<boolean> {
    return (await this.#volumes.delete(fid)) || (await this.#files.delete(fid));
  }

  async list(after: number, limit: number): Promise<ListedBlob[]> {
    const listed: ListedBlob[] = [];
    for await (const leaf of leaves(this.#root, after + 1)) {
      const small = (await this.#volumes.list(leaf.first)).filter(({ fid }) => fid > after);
      const files = await this.#files.list(leaf, after, limit - listed.length);
      const all = [...small.map(({ fid, size, at }) => ({ fid, size, at })), ...files];
      listed.push(...all.sort((a, b) => a.fid - b.fid).slice(0, limit - listed.length));
      if (listed.length >= limit) break;
    }
    return listed;
  }

  async fids(leaf: Leaf): Promise<number[]> {
    const [small, files] = await Promise.all([this.#volumes.list(leaf.first), fidsIn(this.#root, leaf)]);
    return [...small.map(({ fid }) => fid), ...files].sort((a, b) => a - b);
  }

  async highestFid(): Promise<number> {
    for await (const leaf of leaves(this.#root, 0, 'descending')) {
      const highest = (await this.fids(leaf)).at(-1);
      if (highest !== undefined) return highest;
    }
    return 0;
  }

  async count(seen: (blobs: number, before: number) => void, signal: AbortSignal): Promise<void> {
    for await (const leaf of leaves(this.#root)) {
      const files = await fidsIn(this.#root, leaf);
      const small = await this.#volumes.list(leaf.first);
      if (signal.aborted) return;
      // At once: what changes from now on is followed.
      this.#volumes.counted(leaf.first, small);
      seen(small.length + files.length, leaf.first + FIDS_A_DIRECTORY);
    }
    if (!signal.aborted) this.#volumes.allCounted();
  }

  #fits(size: number): boolean {
    return this.#upTo > 0 && size <= this.#upTo;
  }

  async #isSmall(fid: number): Promise<boolean> {
    return (await this.#volumes.find(fid)) !== undefined;
  }

  async #with(fid: number): Promise<FilesStore | VolumeStore> {
    return (await this.#isSmall(fid)) ? this.#volumes : this.#files;
  }
}
