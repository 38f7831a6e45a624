// Moves the files of MogileFS into Cistern: domains, classes and keys as they are, each file read from a storage node,
// compared with what MogileFS says of it, and stored under its digest. A second run takes what is new.
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import pLimit from 'p-limit';
import { request } from 'undici';
import { NAME_PATTERN, validateKey } from '../../services/keys.ts';
import { type Api, domainPath } from '../lib/api.ts';
import { failureOf, isProblem, usage } from '../lib/failure.ts';
import { statKeys } from '../lib/listing.ts';
import type { Pace } from '../lib/pace.ts';
import type { FileEntry } from '../lib/types.ts';
import { DIRECT_ABOVE, Uploader, type UploadOptions } from '../lib/upload.ts';
import type { MogileDomain, MogileFile, MogileSource } from './source.ts';

export interface MoveOptions {
  api: Api;
  source: MogileSource;
  /** MogileFS's domain -> ours; others keep their names. */
  rename: Map<string, string>;
  /** Keys there may begin with slashes, ours never. */
  stripSlashes: boolean;
  dryRun: boolean;
  concurrency: number;
  pace: Pace;
  signal: AbortSignal;
  tell(event: MoveEvent): void;
}

export interface MoveEvent {
  event: 'left' | 'failed' | 'conflict';
  domain: string;
  path: string;
  why: string;
}

const FID = 'mogilefsFid';

export class Move {
  readonly counts = {
    domains: 0,
    files: 0,
    stored: 0,
    storedBytes: 0,
    upToDate: 0,
    left: 0,
    failed: 0,
    conflicts: 0,
  };
  readonly #how: MoveOptions;
  readonly #scratch = mkdtempSync(join(tmpdir(), 'cistern-mogilefs-'));

  constructor(how: MoveOptions) {
    this.#how = how;
  }

  async domain(source: MogileDomain): Promise<void> {
    const target = this.targetName(source.name);
    const { api, signal, concurrency, dryRun } = this.#how;
    if (!dryRun) await this.#makeDomain(target, source);
    this.counts.domains++;
    const uploader = new Uploader(api, target, signal, true);
    const limit = pLimit(concurrency);
    try {
      for await (const keys of this.#how.source.keys(source.name)) {
        signal.throwIfAborted();
        this.counts.files += keys.length;
        const wanted = keys.flatMap((key) => this.#target(source.name, key));
        const there = await this.#there(
          target,
          wanted.map(({ to }) => to),
        );
        await Promise.all(
          wanted.map(({ key, to }, i) =>
            limit(() =>
              this.#file(source.name, key, { domain: target, to, there: there[i] ?? null, uploader }),
            ),
          ),
        );
      }
    } finally {
      await uploader.close();
    }
  }

  end(): void {
    rmSync(this.#scratch, { recursive: true, force: true });
  }

  /** What a domain is called here. @throws Failure (exit 2) if that cannot be */
  targetName(name: string): string {
    const target = this.#how.rename.get(name) ?? name;
    if (new RegExp(NAME_PATTERN).test(target)) return target;
    throw usage(
      `'${target}' cannot be the name of a domain here`,
      `give it another one: --map '${name}=example.com'`,
    );
  }

  /** Makes the domain and its classes; a domain that is there keeps the classes that it has. */
  async #makeDomain(target: string, { classes }: MogileDomain): Promise<void> {
    const { api } = this.#how;
    await api.send({ method: 'POST', path: '/v1/domains', json: { name: target } }).catch((error) => {
      if (!isProblem(error, 'already-exists')) throw error;
    });
    const known = await api.json<{ classes: { name: string }[] }>({
      method: 'GET',
      path: `${domainPath(target)}/classes`,
    });
    for (const { name, mindevcount } of classes) {
      const own = classNameOf(name);
      if (own !== 'default' && known.classes.some((one) => one.name === own)) continue;
      const copies = Math.min(Math.max(mindevcount || 2, 1), 16);
      const path = `${domainPath(target)}/classes/${own}`;
      await api.send({
        method: 'PUT',
        path,
        json: { copies, minCopies: Math.min(copies, 2), prefixes: [] },
        repeatable: true,
      });
    }
  }

  #target(domain: string, key: string): { key: string; to: string }[] {
    const to = this.#how.stripSlashes ? key.replace(/^\/+/, '') : key;
    try {
      validateKey(to);
      return [{ key, to }];
    } catch (error) {
      this.counts.left++;
      const hint = key.startsWith('/') ? ' See --strip-slashes.' : '';
      this.#how.tell({ event: 'left', domain, path: key, why: (error as Error).message + hint });
      return [];
    }
  }

  async #there(domain: string, keys: string[]): Promise<(FileEntry | null)[]> {
    if (keys.length === 0) return [];
    try {
      return (await statKeys(this.#how.api, domain, keys)).map((one) => (one?.kind === 'file' ? one : null));
    } catch (error) {
      // With --dry-run it was not made.
      if (this.#how.dryRun && isProblem(error, 'domain-not-found')) return keys.map(() => null);
      throw error;
    }
  }

  async #file(
    domain: string,
    key: string,
    where: { domain: string; to: string; there: FileEntry | null; uploader: Uploader },
  ): Promise<void> {
    const { source, dryRun, signal, tell } = this.#how;
    const { there } = where;
    try {
      const file = await source.file(domain, key);
      // It was deleted since it was listed.
      if (file === undefined) return;
      if (there?.meta[FID] === file.fid) {
        this.counts.upToDate++;
        return;
      }
      if (there !== null && there.meta[FID] === undefined) {
        this.counts.conflicts++;
        return tell({
          event: 'conflict',
          domain,
          path: key,
          why: 'the store has a file of its own there, which stays',
        });
      }
      if (!dryRun) await this.#copy(domain, key, file, where);
      this.counts.stored++;
      this.counts.storedBytes += file.length;
    } catch (error) {
      const failure = failureOf(error);
      if (signal.aborted || failure.exit >= 2) throw error;
      this.counts.failed++;
      tell({ event: 'failed', domain, path: key, why: failure.message });
    }
  }

  /** Reads a file from one storage node after the other, until its bytes are what MogileFS says, and stores it. */
  async #copy(
    domain: string,
    key: string,
    file: MogileFile,
    { to, there, uploader }: { to: string; there: FileEntry | null; uploader: Uploader },
  ): Promise<void> {
    let last: Error = new Error('MogileFS names no storage node that has it');
    for (const url of await this.#how.source.paths(domain, key)) {
      const spool = join(this.#scratch, `${file.fid}-${process.pid}`);
      try {
        const { bytes, mtime } = await this.#read(url, file, spool);
        const options: UploadOptions = {
          class: classNameOf(file.class),
          meta: { [FID]: file.fid },
          pace: this.#how.pace,
          ...(mtime && { mtime }),
          ...(there === null ? { exclusive: true } : { replaces: there.sha256 }),
        };
        if (bytes !== undefined) await uploader.buffer(bytes, to, options);
        else await uploader.file(spool, file.length, to, options, () => {});
        return;
      } catch (error) {
        if (isProblem(error) || failureOf(error).exit >= 2) throw error;
        last = error as Error;
      } finally {
        rmSync(spool, { force: true });
      }
    }
    throw last;
  }

  async #read(
    url: string,
    file: MogileFile,
    spool: string,
  ): Promise<{ bytes?: Buffer; mtime: Date | undefined }> {
    const { body, mtime } = await open(url, this.#how.signal);
    const md5 = createHash('md5');
    let length = 0;
    const count = (chunk: Buffer) => {
      md5.update(chunk);
      length += chunk.length;
    };
    let bytes: Buffer | undefined;
    if (file.length <= DIRECT_ABOVE) {
      bytes = await buffer(body);
      count(bytes);
    } else {
      body.on('data', count);
      await pipeline(body, createWriteStream(spool));
    }
    const [kind, digest] = file.checksum?.split(':') ?? [];
    if (length !== file.length || (kind === 'MD5' && digest !== md5.digest('hex'))) {
      throw new Error(`${url} does not hold the ${file.length} bytes that MogileFS speaks of`);
    }
    return { ...(bytes && { bytes }), mtime };
  }
}

/** A copy of a file: at a storage node, or on a device that is mounted here. */
async function open(url: string, signal: AbortSignal): Promise<{ body: Readable; mtime: Date | undefined }> {
  if (url.startsWith('file:')) {
    const path = fileURLToPath(url);
    return { mtime: (await stat(path)).mtime, body: createReadStream(path, { signal }) };
  }
  const { statusCode, headers, body } = await request(url, {
    signal,
    headersTimeout: 30_000,
    bodyTimeout: 30_000,
  });
  if (statusCode !== 200) {
    await body.dump();
    throw new Error(`${url} answered ${statusCode}`);
  }
  const changed = Date.parse(String(headers['last-modified']));
  return { body, mtime: Number.isNaN(changed) ? undefined : new Date(changed) };
}

/** MogileFS's class names may have letters that ours have not. */
function classNameOf(name: string): string {
  const own = name
    .toLowerCase()
    .replace(/[^a-z0-9._-]/g, '-')
    .replace(/^[^a-z0-9]+/, '')
    .slice(0, 63);
  return own === '' ? 'default' : own;
}
