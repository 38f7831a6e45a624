// A MogileFS for tests: a tracker that speaks its line protocol, and storage nodes' HTTP, of files at its paths. It knows
// what moving away needs, and is written from the protocol's description: no MogileFS runs in these tests.
import { createHash } from 'node:crypto';
import { createServer as createHttp } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { createInterface } from 'node:readline';

export interface StoredFile {
  domain: string;
  key: string;
  class: string;
  bytes: Buffer;
}

export class FakeMogile {
  /** Domain -> class -> mindevcount. */
  readonly domains: Record<string, Record<string, number>>;
  readonly files = new Map<number, StoredFile>();
  /** Devices whose copies have other bytes than they should. */
  readonly spoiled = new Set<number>();
  address = '';
  /** Of its storage nodes. */
  httpPort = 0;
  #nextFid = 1;
  readonly #servers: { close(): unknown }[] = [];
  readonly #connections = new Set<{ destroy(): unknown }>();

  constructor(domains: Record<string, Record<string, number>>) {
    this.domains = domains;
  }

  /** Stores a file, or a new version under a new fid, as MogileFS does. */
  put(domain: string, key: string, bytes: Buffer | string, className = ''): void {
    for (const [fid, file] of this.files)
      if (file.domain === domain && file.key === key) this.files.delete(fid);
    this.files.set(this.#nextFid++, { domain, key, class: className, bytes: Buffer.from(bytes) });
  }

  async start(): Promise<void> {
    const http = createHttp((request, response) => {
      const [, device, fid] = /^\/dev(\d+)\/0\/\d{3}\/\d{3}\/(\d{10})\.fid$/.exec(request.url ?? '') ?? [];
      const file = this.files.get(Number(fid));
      if (file === undefined) return response.writeHead(404).end();
      const bytes = this.spoiled.has(Number(device)) ? Buffer.alloc(file.bytes.length, '!') : file.bytes;
      response.writeHead(200, { 'last-modified': 'Wed, 01 Jan 2020 00:00:00 GMT' }).end(bytes);
    });
    const tracker = createServer((socket) => {
      this.#connections.add(socket);
      socket.on('error', () => {});
      createInterface({ input: socket }).on('line', (line) => {
        const [, command = '', query = ''] = /^(\S+) ?(.*?)\r?$/.exec(line) ?? [];
        socket.write(`${this.#answer(command, new URLSearchParams(query))}\r\n`);
      });
    });
    this.httpPort = await listening(http);
    this.address = `127.0.0.1:${await listening(tracker)}`;
    this.#servers.push(http, tracker);
  }

  stop(): void {
    for (const server of this.#servers) server.close();
    for (const connection of this.#connections) connection.destroy();
  }

  #answer(command: string, query: URLSearchParams): string {
    if (command === 'get_domains') return ok(this.#domains());
    const domain = query.get('domain') ?? '';
    if (!(domain in this.domains)) return 'ERR unreg_domain Domain+name+invalid%2Fnot+found';
    if (command === 'list_keys') return this.#keys(domain, query);
    const key = query.get('key');
    const [fid, file] = [...this.files].find(([, one]) => one.domain === domain && one.key === key) ?? [];
    if (fid === undefined || file === undefined) return 'ERR unknown_key unknown_key';
    if (command === 'get_paths')
      return ok({ paths: 2, path1: this.#path(1, fid), path2: this.#path(2, fid) });
    if (command === 'file_info') {
      const checksum = `MD5:${createHash('md5').update(file.bytes).digest('hex')}`;
      return ok({
        fid,
        domain,
        key: file.key,
        class: file.class || 'default',
        length: file.bytes.length,
        devcount: 2,
        checksum,
      });
    }
    return 'ERR unknown_command Unknown+server+command';
  }

  #domains(): Record<string, string | number> {
    const fields: Record<string, string | number> = { domains: Object.keys(this.domains).length };
    for (const [d, [name, classes]] of Object.entries(this.domains).entries()) {
      const prefix = `domain${d + 1}`;
      Object.assign(fields, { [prefix]: name, [`${prefix}classes`]: Object.keys(classes).length });
      for (const [c, [className, mindevcount]] of Object.entries(classes).entries()) {
        fields[`${prefix}class${c + 1}name`] = className;
        fields[`${prefix}class${c + 1}mindevcount`] = mindevcount;
      }
    }
    return fields;
  }

  #keys(domain: string, query: URLSearchParams): string {
    const after = query.get('after') ?? '';
    // Pages of three: a test need not have thousands of files to see the second one.
    const keys = [...this.files.values()]
      .filter((file) => file.domain === domain && file.key > after)
      .map(({ key }) => key)
      .sort()
      .slice(0, 3);
    if (keys.length === 0) return 'ERR none_match No+keys+match+that+pattern+and+after-value+%28if+any%29.';
    const numbered = Object.fromEntries(keys.map((key, i) => [`key_${i + 1}`, key]));
    return ok({ key_count: keys.length, next_after: keys.at(-1) ?? '', ...numbered });
  }

  #path(device: number, fid: number): string {
    return `http://127.0.0.1:${this.httpPort}/${pathOfBlob(device, fid)}`;
  }
}

/** Below the directory in which devices are mounted. */
export function pathOfBlob(device: number, fid: number): string {
  const digits = String(fid).padStart(10, '0');
  return `dev${device}/${digits.slice(0, 1)}/${digits.slice(1, 4)}/${digits.slice(4, 7)}/${digits}.fid`;
}

function ok(fields: Record<string, string | number>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(fields)) query.set(name, String(value));
  return `OK ${query}`;
}

function listening(server: {
  listen(port: number, host: string, done: () => void): unknown;
  address(): unknown;
}): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}
