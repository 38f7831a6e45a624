// A client of MogileFS's trackers, as far as moving away needs it. A request is a line, `command name=value&...`; the
// answer is `OK name=value&...` or `ERR code text`; names and values are form-encoded, and it is one after the other on a
// connection. (MogileFS's own clients and doc/ describe the commands.)
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { Failure } from '../lib/failure.ts';
import type { MogileDomain, MogileFile, MogileSource } from './source.ts';

/** What a tracker answered instead of OK. */
export class MogileError extends Error {
  override name = 'MogileError';
  readonly code: string;

  constructor(code: string, text: string) {
    super(`MogileFS says ${code}: ${text}`);
    this.code = code;
  }
}

const TIMEOUT_MS = 30_000;
const PAGE = 1_000;

type Answer = { line: string } | { error: Error };

export class MogileTracker implements MogileSource {
  readonly #addresses: { host: string; port: number }[];
  #socket: Socket | undefined;
  #waiting: ((answer: Answer) => void)[] = [];

  /** @param addresses `host:port`, port 7001 if none is given; the first that answers is used */
  constructor(addresses: string[]) {
    this.#addresses = addresses.map((address) => {
      const [, host = address, port = '7001'] = /^\[?(.+?)\]?(?::(\d+))?$/.exec(address) ?? [];
      return { host, port: Number(port) };
    });
  }

  async domains(): Promise<MogileDomain[]> {
    const fields = await this.#ask('get_domains');
    return numbered(fields, 'domains', (d) => ({
      name: fields.get(`domain${d}`) ?? '',
      classes: numbered(fields, `domain${d}classes`, (c) => ({
        name: fields.get(`domain${d}class${c}name`) ?? '',
        mindevcount: Number(fields.get(`domain${d}class${c}mindevcount`)),
      })),
    }));
  }

  async *keys(domain: string): AsyncGenerator<string[]> {
    for (let after = ''; ; ) {
      try {
        const fields = await this.#ask('list_keys', { domain, prefix: '', after, limit: String(PAGE) });
        const keys = numbered(fields, 'key_count', (i) => fields.get(`key_${i}`) ?? '');
        if (keys.length > 0) yield keys;
        const next = fields.get('next_after');
        if (keys.length === 0 || !next || next === after) return;
        after = next;
      } catch (error) {
        // It says so of an empty domain, and behind the last key.
        if (error instanceof MogileError && error.code === 'none_match') return;
        throw error;
      }
    }
  }

  async file(domain: string, key: string): Promise<MogileFile | undefined> {
    try {
      const fields = await this.#ask('file_info', { domain, key });
      return {
        fid: fields.get('fid') ?? '',
        class: fields.get('class') || 'default',
        length: Number(fields.get('length')),
        checksum: fields.get('checksum') || undefined,
      };
    } catch (error) {
      if (error instanceof MogileError && error.code === 'unknown_key') return undefined;
      throw error;
    }
  }

  async paths(domain: string, key: string): Promise<string[]> {
    const fields = await this.#ask('get_paths', { domain, key, noverify: '1', pathcount: '8' });
    return numbered(fields, 'paths', (i) => fields.get(`path${i}`) ?? '');
  }

  close(): void {
    this.#socket?.destroy();
  }

  async #ask(command: string, values: Record<string, string> = {}): Promise<URLSearchParams> {
    const socket = this.#socket ?? (await this.#connect());
    const answer = await new Promise<Answer>((resolve) => {
      this.#waiting.push(resolve);
      socket.write(`${command} ${new URLSearchParams(values)}\r\n`);
    });
    if ('error' in answer) throw answer.error;
    const [, status, rest = ''] = /^(\S+) ?(.*?)\r?$/.exec(answer.line) ?? [];
    if (status === 'OK') return new URLSearchParams(rest);
    const [, code = 'unknown', text = ''] = /^(\S+) ?(.*)$/.exec(rest) ?? [];
    throw new MogileError(code, decodeURIComponent(text.replaceAll('+', ' ')));
  }

  async #connect(): Promise<Socket> {
    let last: Error | undefined;
    for (const { host, port } of this.#addresses) {
      try {
        return this.#use(await opened(host, port));
      } catch (error) {
        last = error as Error;
      }
    }
    const named = this.#addresses.map(({ host, port }) => `${host}:${port}`).join(', ');
    throw new Failure(`cannot reach MogileFS's tracker at ${named} (${last?.message})`, {
      exit: 2,
      cause: last,
    });
  }

  #use(socket: Socket): Socket {
    this.#socket = socket;
    const end = (error: Error) => {
      if (this.#socket === socket) this.#socket = undefined;
      for (const tell of this.#waiting.splice(0)) tell({ error });
    };
    createInterface({ input: socket }).on('line', (line) => this.#waiting.shift()?.({ line }));
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error('no answer in time')));
    socket.on('error', end).on('close', () => end(new Error("MogileFS's tracker closed the connection")));
    return socket;
  }
}

function opened(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    socket.once('error', reject).once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

/** The fields `what1` to `what<count>`, where the field `count` says how many there are. */
function numbered<T>(fields: URLSearchParams, count: string, take: (i: number) => T): T[] {
  return Array.from({ length: Number(fields.get(count) ?? 0) }, (_, i) => take(i + 1));
}
