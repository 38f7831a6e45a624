// Stores one file. Small ones go through the tracker with their digest announced; large ones straight to the storage
// nodes, or through the tracker if those cannot be reached. Either way the digest of what was stored is compared.
import { createHash, type Hash, hash } from 'node:crypto';
import { createReadStream, promises as fs } from 'node:fs';
import { type Readable, Transform } from 'node:stream';
import { Agent } from 'undici';
import { formatDigest } from '../../services/digests.ts';
import { validateKey } from '../../services/keys.ts';
import { problemFrom } from '../../services/problems.ts';
import type { Receipt } from '../../services/tickets.ts';
import { type Api, domainPath, filePath, type Headers, idempotent, neverSent } from './api.ts';
import { EXIT, Failure } from './failure.ts';
import type { Pace } from './pace.ts';
import { ownTls } from './tls.ts';
import type { FileEntry } from './types.ts';

/** Files above this size go directly to storage nodes. Smaller ones are read whole, so that their digest goes first. */
export const DIRECT_ABOVE = 8 * 1024 * 1024;

export interface UploadOptions {
  class?: string;
  contentType?: string;
  mtime?: Date;
  /** Only if the key is free. */
  exclusive?: boolean;
  /** Only if the key holds the version with this SHA-256. */
  replaces?: string;
  /** Kept with the file. */
  meta?: Record<string, unknown>;
  /** Into the trash, as a former version of the key. */
  past?: boolean;
  /** Called after each piece was read and before it is sent: nothing is stored if it throws. */
  verify?: () => void;
  /** Called before bytes are sent on. */
  pace?: Pace;
}

type OnBytes = (count: number) => void;

export class Uploader {
  readonly #api: Api;
  readonly #domain: string;
  readonly #signal: AbortSignal;
  readonly #nodes = new Agent({ connect: ownTls().connector(2_000), headersTimeout: 300_000 });
  /** False as soon as a storage node could not be reached from here: then none is tried again. */
  #direct: boolean;

  constructor(api: Api, domain: string, signal: AbortSignal, direct: boolean) {
    this.#api = api;
    this.#domain = domain;
    this.#signal = signal;
    this.#direct = direct;
  }

  /** Stores a file of this machine under `key`. `onBytes` hears of the bytes as they are sent. */
  async file(
    path: string,
    size: number,
    key: string,
    options: UploadOptions,
    onBytes: OnBytes,
  ): Promise<FileEntry> {
    if (size <= DIRECT_ABOVE) {
      const bytes = await fs.readFile(path);
      const entry = await this.buffer(bytes, key, options);
      onBytes(bytes.length);
      return entry;
    }
    let counted = 0;
    const counting: OnBytes = (count) => {
      counted += count;
      onBytes(count);
    };
    if (this.#direct && !options.past) {
      const entry = await this.#directly(path, size, key, options, counting);
      if (entry !== undefined) return entry;
      onBytes(-counted);
      counted = 0;
    }
    const headers = { ...(options.past ? {} : idempotent()), 'content-length': String(size) };
    const open = () => {
      onBytes(-counted);
      counted = 0;
      return createReadStream(path, { end: size - 1, highWaterMark: 256 * 1024 });
    };
    return this.#stream(open, key, headers, options, true, counting);
  }

  /** Stores bytes that are in memory. */
  async buffer(bytes: Buffer, key: string, options: UploadOptions): Promise<FileEntry> {
    const sha256 = hash('sha256', bytes, 'hex');
    const entry = await this.#api.json<FileEntry>({
      method: 'PUT',
      path: filePath(this.#domain, key),
      headers: { ...idempotent(headersOf(options)), 'repr-digest': formatDigest(sha256) },
      body: () => bytes,
    });
    return checked(entry, sha256);
  }

  /** Stores a stream of unknown length, such as stdin. There is one attempt, since it can be read only once. */
  async stream(source: Readable, key: string, options: UploadOptions): Promise<FileEntry> {
    // Finds a tracker that is there before the first byte is taken.
    await this.#api.send({ method: 'GET', path: '/healthz' });
    return this.#stream(
      () => source,
      key,
      {},
      options,
      false,
      () => {},
    );
  }

  async #stream(
    open: () => Readable,
    key: string,
    headers: Headers,
    options: UploadOptions,
    replayable: boolean,
    onBytes: OnBytes,
  ): Promise<FileEntry> {
    let digest = createHash('sha256');
    const entry = await this.#api.json<FileEntry>({
      method: 'PUT',
      path: filePath(this.#domain, key),
      headers: { ...headersOf(options), ...headers },
      body: () => {
        digest = createHash('sha256');
        return hashed(open(), digest, onBytes, options);
      },
      replayable,
    });
    return checked(entry, digest.digest('hex'));
  }

  /** Open, send to the node, commit. Returns undefined if the nodes could not take it: then the tracker may. */
  async #directly(
    path: string,
    size: number,
    key: string,
    options: UploadOptions,
    onBytes: OnBytes,
  ): Promise<FileEntry | undefined> {
    const uploads = `${domainPath(this.#domain)}/uploads`;
    const opened = await this.#api.json<{ fid: number; url: string }>({
      method: 'POST',
      path: uploads,
      json: { key: validateKey(key), size, ...(options.class && { class: options.class }) },
      repeatable: true,
    });
    const digest = createHash('sha256');
    const receipt = await this.#send(opened.url, path, size, digest, onBytes, options);
    if (receipt === undefined) return undefined;
    if (receipt.sha256 !== digest.digest('hex')) throw differs('The storage node received');
    const { contentType, mtime, meta, exclusive, replaces } = options;
    return this.#api.json<FileEntry>({
      method: 'POST',
      path: `${uploads}/${opened.fid}/commit`,
      headers: conditionOf({ ...(exclusive && { exclusive }), ...(replaces && { replaces }) }),
      json: {
        receipt,
        ...(contentType && { contentType }),
        ...(mtime && { mtime: mtime.toISOString() }),
        ...(meta && { meta }),
      },
      // The fid is the ledger: a commit that is repeated gets the first answer.
      repeatable: true,
    });
  }

  async #send(
    url: string,
    path: string,
    size: number,
    digest: Hash,
    onBytes: OnBytes,
    options: UploadOptions,
  ): Promise<Receipt | undefined> {
    const { origin, pathname, search } = new URL(url);
    let refused: unknown;
    const verify = () => {
      try {
        options.verify?.();
      } catch (error) {
        refused = error;
        throw error;
      }
    };
    const source = createReadStream(path, { end: size - 1, highWaterMark: 256 * 1024 });
    try {
      const { statusCode, body } = await this.#nodes.request({
        origin,
        path: pathname + search,
        method: 'PUT',
        headers: { 'content-length': String(size) },
        body: hashed(source, digest, onBytes, { ...options, verify }),
        signal: this.#signal,
      });
      const answer: unknown = JSON.parse(await body.text());
      return statusCode < 300 && problemFrom(answer) === undefined ? (answer as Receipt) : undefined;
    } catch (error) {
      if (refused !== undefined) throw refused;
      if (this.#signal.aborted || source.errored) throw source.errored ?? error;
      if (neverSent(error as Error)) this.#direct = false;
      return undefined;
    } finally {
      source.destroy();
    }
  }

  async close(): Promise<void> {
    await this.#nodes.destroy();
  }
}

function conditionOf({ exclusive, replaces }: Pick<UploadOptions, 'exclusive' | 'replaces'>): Headers {
  return { ...(exclusive && { 'if-none-match': '*' }), ...(replaces && { 'if-match': `"${replaces}"` }) };
}

function headersOf(options: UploadOptions): Headers {
  const { class: className, contentType, mtime, meta, past } = options;
  return {
    // Without one the tracker derives it from the key.
    ...(contentType && { 'content-type': contentType }),
    ...(className && { 'cistern-class': className }),
    ...(mtime && { 'cistern-mtime': mtime.toISOString() }),
    // Header fields are Latin-1: what is beyond ASCII goes as JSON's own escapes.
    ...(meta && { 'cistern-meta': JSON.stringify(meta).replace(/[^ -~]/g, escaped) }),
    ...(past && { 'cistern-version': 'past' }),
    ...conditionOf(options),
  };
}

function escaped(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** Passes a stream on, hashing and counting it. Its errors reach the reader. */
function hashed(
  source: Readable,
  digest: Hash,
  onBytes: OnBytes,
  { verify, pace }: Pick<UploadOptions, 'verify' | 'pace'>,
): Readable {
  const tap = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      digest.update(chunk);
      onBytes(chunk.length);
      try {
        // Before the last byte may have gone: the other side takes a body of its announced length for whole.
        verify?.();
      } catch (error) {
        return done(error as Error);
      }
      if (pace === undefined) return done(null, chunk);
      pace(chunk.length).then(() => done(null, chunk), done);
    },
    destroy(error, done) {
      source.destroy();
      done(error);
    },
  });
  source.on('error', (error) => tap.destroy(error));
  return source.pipe(tap);
}

function checked(entry: FileEntry, sha256: string): FileEntry {
  if (entry.sha256 === sha256) return entry;
  throw differs('The tracker stored');
}

function differs(who: string): Failure {
  return new Failure(`${who} OTHER BYTES THAN WERE SENT (the SHA-256 digests differ)`, {
    todo: 'check memory and network between here and the cluster, then store the file again',
    exit: EXIT.failed,
  });
}
