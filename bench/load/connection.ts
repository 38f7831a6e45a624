// A keep-alive HTTP/1.1 connection for one request at a time, as frugal as Node allows: the load generator runs on the
// cores that it measures. It reads what Cistern sends (bodies with a Content-Length), and refuses anything else.
import { connect, type Socket } from 'node:net';

export interface Answer {
  status: number;
  /** The head as it came, from the status line to the empty line. */
  head: string;
  /** Length of the body. */
  size: number;
  /** The body, if it was asked for. */
  body: Buffer | undefined;
}

export interface RequestOptions {
  body?: Buffer;
  /** Keep the answer's body; otherwise it is counted and dropped. */
  keep?: boolean;
  /** The answer has no body whatever its Content-Length says. */
  head?: boolean;
}

interface Waiting {
  options: RequestOptions;
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

const HEAD_END = Buffer.from('\r\n\r\n');

export class Connection {
  readonly #socket: Socket;
  #waiting: Waiting | undefined;
  #chunks: Buffer[] = [];
  #answer: Answer | undefined;
  #left = 0;
  #closed: Error | undefined;

  /** @param origin `http://host:port` */
  constructor(origin: string) {
    const { hostname, port } = new URL(origin);
    this.#socket = connect({ host: hostname, port: Number(port || 80), noDelay: true });
    this.#socket.on('data', (chunk) => this.#read(chunk));
    this.#socket.on('error', (error) => this.#fail(error));
    this.#socket.on('close', () => this.#fail(new Error('the connection was closed')));
  }

  /** Sends a request; `head` is all of it up to and with the empty line. */
  request(head: string, options: RequestOptions = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#closed !== undefined) return reject(this.#closed);
      this.#waiting = { options, resolve, reject };
      this.#socket.cork();
      this.#socket.write(head, 'latin1');
      if (options.body !== undefined) this.#socket.write(options.body);
      this.#socket.uncork();
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    if (this.#answer === undefined) {
      const rest = this.#readHead(chunk);
      if (rest === undefined) return;
      chunk = rest;
    }
    const answer = this.#answer as unknown as Answer;
    this.#left -= chunk.length;
    if (this.#waiting?.options.keep && chunk.length > 0) this.#chunks.push(chunk);
    if (this.#left > 0) return;
    if (this.#left < 0) {
      this.#fail(new Error('the answer is longer than its Content-Length'));
      return;
    }
    const { options, resolve } = this.#waiting as Waiting;
    if (options.keep) answer.body = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
    this.#chunks = [];
    this.#answer = undefined;
    this.#waiting = undefined;
    resolve(answer);
  }

  /** Reads the answer's head; returns what came after it, or undefined if it is not complete. */
  #readHead(chunk: Buffer): Buffer | undefined {
    if (this.#waiting === undefined) {
      this.#fail(new Error('bytes came that nobody asked for'));
      return undefined;
    }
    const bytes = this.#chunks.length === 0 ? chunk : Buffer.concat([...this.#chunks, chunk]);
    const end = bytes.indexOf(HEAD_END);
    if (end < 0) {
      this.#chunks = [bytes];
      return undefined;
    }
    const head = bytes.toString('latin1', 0, end + 2);
    const status = Number(head.slice(9, 12));
    const length = /\r\ncontent-length: *(\d+)\r\n/i.exec(head)?.[1];
    const empty = this.#waiting.options.head || status === 204 || status === 304;
    if (length === undefined && !empty) {
      this.#fail(new Error(`an answer without a Content-Length: ${head}`));
      return undefined;
    }
    const size = empty ? 0 : Number(length);
    this.#chunks = [];
    this.#answer = { status, head, size, body: undefined };
    this.#left = size;
    return bytes.subarray(end + HEAD_END.length);
  }

  #fail(error: Error): void {
    this.#closed ??= error;
    this.#socket.destroy();
    this.#waiting?.reject(error);
    this.#waiting = undefined;
  }
}
