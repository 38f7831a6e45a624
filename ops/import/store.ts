// Brings files of an import into the store: small ones many to a request, large ones each by itself, a bounded number
// of requests at the same time. Whatever is sent is verified by its digest, and replaces only what was seen.
import { hash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Problem, problemFrom } from '../../services/problems.ts';
import { type Api, domainPath, filePath, idempotent } from '../lib/api.ts';
import { failureOf, isProblem } from '../lib/failure.ts';
import { statKeys } from '../lib/listing.ts';
import type { Pace } from '../lib/pace.ts';
import type { Progress } from '../lib/progress.ts';
import type { FileEntry } from '../lib/types.ts';
import type { Uploader, UploadOptions } from '../lib/upload.ts';
import type { Report } from './report.ts';
import { assertSame, digestOfFile, type LocalFile, readWhole } from './tree.ts';

/** Larger files have a request of their own. The tracker takes files of up to 256 KiB in batches. */
const SMALL_BYTES = 256 * 1024;
const BATCH_BYTES = 2 * 1024 * 1024;
const BATCH_FILES = 128;
const TRIES = 8;

/** A file on its way. Without `replaces` and `past`, its key must be free. */
export interface Task {
  file: LocalFile;
  path: string;
  key: string;
  /** SHA-256 of the version that it may replace. */
  replaces?: string | undefined;
  /** Into the trash: it lost a conflict. */
  past?: boolean;
}

export interface StoreOptions {
  api: Api;
  domain: string;
  uploader: Uploader;
  report: Report;
  pace: Pace;
  progress: Progress;
  signal: AbortSignal;
  concurrency: number;
  class?: string | undefined;
}

export class Store {
  readonly #how: StoreOptions;
  readonly #underWay = new Set<Promise<void>>();
  #batch: Task[] = [];
  #batchBytes = 0;
  #stopped: unknown;
  /** Of large files that this run has stored: where their bytes are, by size and then digest. */
  readonly #large = new Map<number, Map<string, string>>();

  constructor(how: StoreOptions) {
    this.#how = how;
  }

  /** Takes a file; resolves when there is room for the next. @throws what no further file would get over */
  async add(task: Task): Promise<void> {
    if (task.file.size > SMALL_BYTES) return this.#start(() => this.#storeLarge(task));
    this.#batch.push(task);
    this.#batchBytes += task.file.size;
    if (this.#batch.length >= BATCH_FILES || this.#batchBytes >= BATCH_BYTES) await this.flush();
  }

  /** Sends what has gathered. */
  async flush(): Promise<void> {
    const tasks = this.#batch;
    this.#batch = [];
    this.#batchBytes = 0;
    if (tasks.length > 0) await this.#start(() => this.#storeBatch(tasks));
  }

  /** Gives a file the directory's time and mode; its bytes are the same. */
  touch(task: Task, entry: FileEntry): Promise<void> {
    return this.#start(() =>
      this.#attempt(task, async () => {
        await this.#patch(task, entry);
        this.#how.report.counts.touched++;
      }),
    );
  }

  /** Waits until all is stored. */
  async end(): Promise<void> {
    await this.flush();
    await Promise.all(this.#underWay);
    if (this.#stopped !== undefined) throw this.#stopped;
  }

  async #start(work: () => Promise<void>): Promise<void> {
    while (this.#underWay.size >= this.#how.concurrency) await Promise.race(this.#underWay);
    if (this.#stopped !== undefined) throw this.#stopped;
    const running = work()
      .catch((error) => {
        this.#stopped ??= error;
      })
      .finally(() => this.#underWay.delete(running));
    this.#underWay.add(running);
  }

  async #storeBatch(tasks: Task[]): Promise<void> {
    let left: Read[] = tasks.flatMap((task) => {
      try {
        const bytes = readWhole(task.file);
        return [{ task, bytes, sha256: hash('sha256', bytes, 'hex') }];
      } catch (error) {
        this.#fail(task, error);
        return [];
      }
    });
    for (let tries = 1; left.length > 0; tries++) {
      const results = await this.#send(left);
      const again: Read[] = [];
      for (const [i, one] of left.entries()) {
        const problem = problemFrom(results[i]);
        if (problem === undefined) this.#stored(one.task, one.bytes.length);
        else if (problem.problem === 'precondition-failed') await this.#settle(one);
        else if (problem.status >= 500 && problem.problem !== 'insufficient-storage' && tries < TRIES)
          again.push(one);
        else if (problem.problem === 'insufficient-storage') throw problem;
        else this.#fail(one.task, problem);
      }
      left = again;
      if (left.length > 0) await sleep(500 * tries, undefined, { signal: this.#how.signal });
    }
  }

  async #send(files: Read[]): Promise<unknown[]> {
    const { api, domain, pace, class: chosen } = this.#how;
    const manifest = Buffer.from(
      JSON.stringify(
        files.map(({ task, bytes, sha256 }) => ({
          key: task.key,
          size: bytes.length,
          sha256,
          mtime: timeOf(task.file).toISOString(),
          meta: { mode: task.file.mode },
          ...(chosen && { class: chosen }),
          ...(task.past ? { past: true } : task.replaces ? { ifMatch: task.replaces } : { ifNoneMatch: '*' }),
        })),
      ),
    );
    const body = Buffer.concat([manifest, ...files.map(({ bytes }) => bytes)]);
    await pace(body.length);
    const answer = await api.json<{ results: unknown[] }>({
      method: 'POST',
      path: `${domainPath(domain)}/batch`,
      headers: {
        'content-type': 'application/vnd.cistern.batch',
        'cistern-manifest-length': String(manifest.length),
      },
      body: () => body,
      // Each replaces only what was seen, so a repeat changes nothing.
      repeatable: true,
    });
    return answer.results;
  }

  /** The key holds something else than was seen: our own bytes, if an answer was lost; or the site was faster. */
  async #settle({ task, bytes, sha256 }: Read): Promise<void> {
    const { api, domain } = this.#how;
    const [now] = await statKeys(api, domain, [task.key]);
    if (now?.kind === 'file' && now.sha256 === sha256) this.#stored(task, bytes.length);
    else this.#fail(task, new Error('the store changed meanwhile; the next pass looks again'));
  }

  async #storeLarge(task: Task): Promise<void> {
    await this.#attempt(task, async () => {
      const { file, key, past = false, replaces } = task;
      if (!past && replaces === undefined && (await this.#copy(task))) return;
      const options: UploadOptions = {
        mtime: timeOf(file),
        meta: { mode: file.mode },
        pace: this.#how.pace,
        verify: () => assertSame(file),
        ...(this.#how.class && { class: this.#how.class }),
        ...(past ? { past } : replaces ? { replaces } : { exclusive: true }),
      };
      const entry = await this.#how.uploader.file(file.path, file.size, key, options, () => {});
      if (!past) this.#remember(file.size, entry.sha256, key);
      this.#stored(task, file.size);
    });
  }

  /** Gives bytes that this run stored another name. False if there are none, or no longer. */
  async #copy(task: Task): Promise<boolean> {
    const { file, key } = task;
    const candidates = this.#large.get(file.size);
    if (candidates === undefined) return false;
    const from = candidates.get(await digestOfFile(file));
    if (from === undefined) return false;
    const { api, domain, report } = this.#how;
    try {
      const entry = await api.json<FileEntry>({
        method: 'POST',
        path: `${domainPath(domain)}/copy`,
        headers: { ...idempotent(), 'if-none-match': '*' },
        json: { from, to: key },
      });
      await this.#patch(task, entry);
    } catch (error) {
      if (isProblem(error, 'file-not-found')) return false;
      throw error;
    }
    report.counts.copied++;
    this.#how.progress.add(1);
    return true;
  }

  async #patch({ file, key }: Task, entry: FileEntry): Promise<void> {
    await this.#how.api.send({
      method: 'PATCH',
      path: filePath(this.#how.domain, key),
      headers: { 'if-match': entry.etag },
      json: { mtime: timeOf(file).toISOString(), meta: { ...entry.meta, mode: file.mode } },
      repeatable: true,
    });
  }

  #remember(size: number, sha256: string, key: string): void {
    const known = this.#large.get(size);
    if (known === undefined) this.#large.set(size, new Map([[sha256, key]]));
    else known.set(sha256, key);
  }

  #stored({ past }: Task, bytes: number): void {
    const { counts } = this.#how.report;
    if (past) {
      counts.trashed++;
      return;
    }
    counts.stored++;
    counts.storedBytes += bytes;
    this.#how.progress.add(1);
  }

  /** Does one thing for one file; it may fail by itself. */
  async #attempt(task: Task, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (isProblem(error, 'precondition-failed')) {
        return this.#fail(task, new Error('the store changed meanwhile; the next pass looks again'));
      }
      this.#fail(task, error);
    }
  }

  /** @throws the error if the next file would fare no better */
  #fail(task: Task, error: unknown): void {
    const failure = failureOf(error);
    if (
      this.#how.signal.aborted ||
      isProblem(error, 'not-authenticated', 'insufficient-storage', 'domain-not-found')
    ) {
      throw error;
    }
    if (failure.exit >= 2 && !(error instanceof Problem)) throw error;
    this.#how.report.failed(task.file, task.path, failure.message);
    this.#how.progress.add(1);
  }
}

interface Read {
  task: Task;
  bytes: Buffer;
  sha256: string;
}

// Years that ISO 8601 writes with four digits: a broken file system's times are brought back into them.
const EARLIEST = Date.parse('0001-01-01T00:00:00Z');
const LATEST = Date.parse('9999-12-31T23:59:59Z');

export function timeOf({ mtimeMs }: LocalFile): Date {
  return new Date(Math.min(Math.max(mtimeMs, EARLIEST), LATEST));
}
