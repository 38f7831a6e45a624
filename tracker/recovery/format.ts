// The file format of a backup: gzip over frames. A frame is a line of JSON, and the bytes that it announces:
//
//   {"cistern":"backup","format":1,"cluster":"…","schema":8,"identity":"…","at":"2026-11-23T18:00:00.000Z"}
//   {"table":"names","columns":["dir_id","name",…],"bytes":65536}     and 65,536 bytes of COPY text
//   …                                                                 a table may have many frames
//   {"end":true,"rows":{"names":1000000,…}}
//
// So it can be written and read as a stream, a truncated one is known by its missing end, and `zcat` shows it.

export const FORMAT = 1;
const MOST_LINE_BYTES = 1024 * 1024;

/** What a backup says of itself. */
export interface Header {
  cistern: 'backup';
  format: number;
  /** The cluster's id. */
  cluster: string;
  /** Version of the schema that its tables have. */
  schema: number;
  /** 'system identifier:timeline' of the database. */
  identity: string;
  /** When it was taken, by the database's clock: all of it is of this instant. */
  at: string;
}

export interface TableFrame {
  table: string;
  columns: string[];
  bytes: number;
}

export interface EndFrame {
  end: true;
  /** Rows of each table. */
  rows: Record<string, number>;
}

/** It is no backup, or not whole; the message says what is wrong with it. */
export class BadBackup extends Error {}

export function frame(content: Header | TableFrame | EndFrame): Buffer {
  return Buffer.from(`${JSON.stringify(content)}\n`);
}

/** Reads frames from a stream of (unzipped) pieces. */
export class FrameReader {
  readonly #source: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  async header(): Promise<Header> {
    const header = (await this.#line()) as Partial<Header>;
    if (header.cistern !== 'backup' || typeof header.at !== 'string')
      throw new BadBackup('it is not a backup');
    if (header.format !== FORMAT)
      throw new BadBackup(`its format is ${header.format}, this version reads ${FORMAT}`);
    return header as Header;
  }

  async next(): Promise<TableFrame | EndFrame> {
    return (await this.#line()) as TableFrame | EndFrame;
  }

  /** The bytes that the last frame announced; all of them must be read before the next frame. */
  async *bytes(length: number): AsyncGenerator<Buffer> {
    for (let left = length; left > 0; ) {
      if (this.#held.length === 0) await this.#more();
      const piece = this.#held.subarray(0, left);
      this.#held = this.#held.subarray(piece.length);
      left -= piece.length;
      yield piece;
    }
  }

  async #line(): Promise<unknown> {
    let end = this.#held.indexOf(10);
    while (end < 0) {
      if (this.#held.length > MOST_LINE_BYTES) throw new BadBackup('it is damaged: a line has no end');
      await this.#more();
      end = this.#held.indexOf(10);
    }
    const text = this.#held.subarray(0, end).toString();
    this.#held = this.#held.subarray(end + 1);
    try {
      return JSON.parse(text);
    } catch {
      throw new BadBackup('it is damaged: a frame is not JSON');
    }
  }

  async #more(): Promise<void> {
    const { value, done } = await this.#source.next();
    if (done) throw new BadBackup('it ends early');
    this.#held = this.#held.length === 0 ? value : Buffer.concat([this.#held, value]);
  }
}
