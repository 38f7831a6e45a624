// How much more may be written to a device: what the file system has free, less the reserve, less what open writes
// may still need. Without counting those, writes that run at the same time would overrun the reserve together.
import { statfs } from 'node:fs/promises';

/** Space set aside for one write. */
export interface Reservation {
  /** So many of the bytes are on the disk now. */
  used(bytes: number): void;
  /** The write has ended; what it did not use is free again. */
  release(): void;
}

export class Space {
  total = 0;
  readonly #path: string;
  readonly #reserve: number;
  #available = 0;
  /** Bytes written since `#available` was asked for. */
  #written = 0;
  #pending = 0;

  constructor(path: string, reserve: number) {
    this.#path = path;
    this.#reserve = reserve;
  }

  /** Bytes that further writes may fill; below 0 when the reserve is touched. */
  get free(): number {
    return this.#available - this.#reserve - this.#written - this.#pending;
  }

  /** Bytes that are not available, to whatever they belong. */
  get used(): number {
    return this.total - this.#available + this.#written;
  }

  /** Asks the file system anew. */
  async refresh(): Promise<void> {
    const { bavail, blocks, bsize } = await statfs(this.#path);
    this.#available = bavail * bsize;
    this.total = blocks * bsize;
    this.#written = 0;
  }

  /** Sets `bytes` aside; undefined if there is not so much. */
  async reserve(bytes: number): Promise<Reservation | undefined> {
    if (this.free < bytes) await this.refresh();
    if (this.free < bytes) return undefined;
    this.#pending += bytes;
    let left = bytes;
    return {
      used: (count) => {
        const taken = Math.min(count, left);
        left -= taken;
        this.#pending -= taken;
        this.#written += taken;
      },
      release: () => {
        this.#pending -= left;
        left = 0;
      },
    };
  }
}
