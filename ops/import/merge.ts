// Makes one truth of several directories: the union of their files; of each name the newest, and what lost to it goes to
// the trash. Goes through them directory by directory, all origins side by side with the store.
import { MAX_KEY_BYTES } from '../../services/keys.ts';
import { type Api, directoryPath } from '../lib/api.ts';
import { listTrash } from '../lib/listing.ts';
import { joinKey } from '../lib/local.ts';
import type { Progress } from '../lib/progress.ts';
import type { FileEntry } from '../lib/types.ts';
import type { Extras } from './extras.ts';
import type { KnownFiles } from './known.ts';
import { type Report, type Version, versionOf } from './report.ts';
import type { Store, Task } from './store.ts';
import { DEFAULT_MODE, filesIn, holdsSame, inByteOrder, SummariesAhead } from './summaries.ts';
import { digestOfFile, type LocalFile, type Origin, type Scanned, type Skip } from './tree.ts';
import { type Directory, walk } from './walk.ts';

export interface MergeOptions {
  api: Api;
  domain: string;
  origins: Origin[];
  /** Before each key, without a trailing slash; '' for none. */
  prefix: string;
  everything: boolean;
  /** Paths that are left out, with all below. */
  exclude: string[];
  known: KnownFiles | undefined;
  dryRun: boolean;
  report: Report;
  store: Store;
  /** What the store alone has goes; undefined if it stays. */
  extras: Extras | undefined;
  progress: Progress;
  signal: AbortSignal;
}

/** A name, and what each origin has under it: the newest first, of equally new ones the first that was named. */
interface Candidates {
  name: string;
  path: string;
  key: string;
  files: [LocalFile, ...LocalFile[]];
}

export class Merge {
  readonly #how: MergeOptions;
  readonly #summaries: SummariesAhead;
  #seen = 0;

  constructor(how: MergeOptions) {
    this.#how = how;
    this.#summaries = new SummariesAhead(how.api, how.domain, how.prefix);
  }

  /** Goes through all. What can fail by itself is in the report; throws what would stop every other file too. */
  async run(): Promise<void> {
    const { known, report, store, extras, signal, origins, everything } = this.#how;
    const excluded = (path: string) => this.#excluded(path);
    try {
      for (const directory of walk({ origins, everything, excluded, skip: this.#skip })) {
        signal.throwIfAborted();
        await this.#directory(directory);
      }
      // Empty directories too want a domain that is there.
      await this.#summaries.of(this.#keyOf(''));
      await store.end();
      await extras?.end(this.#summaries);
    } finally {
      this.#summaries.stop();
    }
    if (known !== undefined) for (const path of known.missing()) report.missing(path);
  }

  async #directory({ path, scans, below }: Directory): Promise<void> {
    if (await this.#isSame(path, scans)) return;
    const all = this.#candidates(path, scans, below);
    if (scans.length > 0)
      this.#how.extras?.visited(
        this.#keyOf(path),
        all.flatMap(({ files }) => files),
      );
    await this.#files(path, all);
    if (all.length === 0 && below.size === 0 && scans.length > 0) await this.#makeDirectory(path);
  }

  /**
   * Whether the only origin has in a directory what the store has. Nothing need be known of each name then: where nothing
   * is new, that would be most of the work.
   */
  async #isSame(path: string, [scan, ...others]: [Origin, Scanned][]): Promise<boolean> {
    const { origins, known, exclude, report, progress, extras } = this.#how;
    const files = scan?.[1].files;
    if (!files?.size || origins.length > 1 || others.length > 0 || known !== undefined || exclude.length > 0)
      return false;
    const summary = await this.#summaries.of(this.#keyOf(path));
    if (summary === undefined || !holdsSame(summary, files)) return false;
    extras?.visited(this.#keyOf(path), files.values());
    report.counts.files += files.size;
    report.counts.bytes += summary.bytes;
    this.#seen += files.size;
    progress.setTotal(this.#seen);
    this.#upToDate(files.size);
    return true;
  }

  /** The key of a directory; '' is the root. */
  #keyOf(path: string): string {
    return joinKey(this.#how.prefix, path).replace(/\/$/, '');
  }

  readonly #skip: Skip = (origin, path, why, left) => {
    const excluded = this.#excluded(path);
    this.#how.extras?.leftOut(path);
    this.#how.report.skipped(origin, path, excluded ? 'by --exclude' : why, left && !excluded);
  };

  #excluded(path: string): boolean {
    return this.#how.exclude.includes(path);
  }

  #candidates(path: string, scans: [Origin, Scanned][], below: Map<string, Origin[]>): Candidates[] {
    const byName = new Map<string, Candidates>();
    for (const [origin, { files }] of scans) {
      for (const [name, file] of files) {
        const before = byName.get(name);
        if (before !== undefined) {
          before.files.push(file);
          continue;
        }
        const own = joinKey(path, name);
        const key = joinKey(this.#how.prefix, own);
        const why = this.#refusal(own, key);
        if (why !== undefined) this.#skip(origin, own, why.why, why.left);
        else if (below.has(name))
          this.#skip(origin, own, 'elsewhere this is a directory; rename one of them', true);
        else byName.set(name, { name, path: own, key, files: [file] });
      }
    }
    const candidates = inByteOrder([...byName.keys()]).map((name) => byName.get(name) as Candidates);
    for (const { files } of candidates) if (files.length > 1) files.sort((a, b) => b.mtimeMs - a.mtimeMs);
    return candidates;
  }

  #refusal(path: string, key: string): { why: string; left: boolean } | undefined {
    if (this.#excluded(path)) return { why: 'by --exclude', left: false };
    if (key.length * 3 > MAX_KEY_BYTES && Buffer.byteLength(key) > MAX_KEY_BYTES) {
      return { why: `its key would be longer than ${MAX_KEY_BYTES} bytes; rename it`, left: true };
    }
    return undefined;
  }

  async #files(path: string, all: Candidates[]): Promise<void> {
    const { report, progress, extras, api, domain } = this.#how;
    report.counts.files += all.length;
    this.#seen += all.length;
    progress.setTotal(this.#seen);
    for (const { files } of all) report.counts.bytes += files[0].size;
    for (const candidates of all) this.#tellPartial(candidates);
    if (all.length === 0 && extras === undefined) return;
    const summary = await this.#summaries.of(this.#keyOf(path));
    const rivals = all.filter(({ files }) => files.some((file) => !same(file, files[0])));
    const unchanged = holdsSame(summary, new Map(all.map(({ name, files }) => [name, files[0]])));
    if (unchanged) this.#upToDate(all.length - rivals.length);
    const there =
      summary === undefined || summary.files === 0 || (unchanged && rivals.length === 0)
        ? new Map<string, FileEntry>()
        : await filesIn(api, domain, this.#keyOf(path));
    for (const candidates of unchanged ? rivals : all) {
      await this.#decide(candidates, there.get(candidates.name));
      there.delete(candidates.name);
    }
    if (!unchanged) extras?.add(there.values());
  }

  #tellPartial({ path, files }: Candidates): void {
    const { origins, known, report } = this.#how;
    const said = known?.has(path);
    if (files.length === origins.length) return;
    const present = files.map(({ origin }) => origin);
    report.partial(
      path,
      present,
      origins.filter((origin) => !present.includes(origin)),
      said,
    );
  }

  #upToDate(count: number): void {
    this.#how.report.counts.upToDate += count;
    this.#how.progress.add(count);
  }

  /** Decides what becomes of a name, and has it done. */
  async #decide(candidates: Candidates, stored: FileEntry | undefined): Promise<void> {
    const { store } = this.#how;
    const { path, key, files } = candidates;
    const [newest] = files;
    const task: Task = { file: newest, path, key };
    try {
      const lost = files.filter((file) => !same(file, newest));
      const digest =
        lost.length > 0 || (stored && !sameAsStored(newest, stored)) ? await digestOfFile(newest) : '';
      const theirs: { file: LocalFile; sha256: string }[] = [];
      for (const file of lost) {
        const sha256 = await digestOfFile(file);
        if (sha256 !== digest && !theirs.some((other) => other.sha256 === sha256))
          theirs.push({ file, sha256 });
      }
      if (stored === undefined) {
        if (theirs.length > 0) await this.#conflict(candidates, versionOf(newest), theirs, []);
        return await this.#do(() => store.add(task), newest.size);
      }
      if (sameAsStored(newest, stored) || stored.sha256 === digest) {
        if (theirs.length > 0) await this.#conflict(candidates, versionOf(newest), theirs, []);
        if (sameAsStored(newest, stored) && (stored.meta.mode ?? DEFAULT_MODE) === newest.mode)
          return this.#upToDate(1);
        return await this.#touch(task, stored);
      }
      const inStore = { from: 'store', size: stored.size, mtime: stored.mtime };
      if (newest.mtimeMs > Date.parse(stored.mtime)) {
        await this.#conflict(candidates, versionOf(newest), theirs, [{ ...inStore, now: 'trash' }]);
        return await this.#do(() => store.add({ ...task, replaces: stored.sha256 }), newest.size);
      }
      const losers = [{ file: newest, sha256: digest }, ...theirs].filter(
        ({ sha256 }) => sha256 !== stored.sha256,
      );
      await this.#conflict(candidates, inStore, losers, []);
      this.#upToDate(1);
    } catch (error) {
      if (this.#how.signal.aborted || (error as NodeJS.ErrnoException).code === undefined) {
        if ((error as Error).name !== 'ChangedWhileRead') throw error;
      }
      this.#how.report.failed(newest, path, (error as Error).message);
    }
  }

  async #do(work: () => Promise<void>, bytes: number): Promise<void> {
    if (!this.#how.dryRun) return work();
    this.#how.report.counts.stored++;
    this.#how.report.counts.storedBytes += bytes;
    this.#how.progress.add(1);
  }

  async #touch(task: Task, stored: FileEntry): Promise<void> {
    if (this.#how.dryRun) this.#how.report.counts.touched++;
    else await this.#how.store.touch(task, stored);
    this.#how.progress.add(1);
  }

  /** Puts what lost into the trash, unless it is there already, and tells. */
  async #conflict(
    { path, key }: Candidates,
    kept: Version,
    losers: { file: LocalFile; sha256: string }[],
    others: (Version & { now: 'trash' | 'directory' })[],
  ): Promise<void> {
    const { api, domain, dryRun, report, store } = this.#how;
    const inTrash = new Set<string>();
    if (losers.length > 0) {
      for await (const version of listTrash(api, domain, key)) {
        if (version.key === key) inTrash.add(version.etag.slice(1, -1));
      }
    }
    for (const { file, sha256 } of losers) {
      // A large file has a request of its own that is answered one by one; see Store.
      if (!inTrash.has(sha256) && !dryRun) await store.add({ file, path, key, past: true });
    }
    if (losers.length > 0) await store.flush();
    const told = losers.map(({ file }) => ({ ...versionOf(file), now: 'trash' as const }));
    report.conflict(path, kept, [...told, ...others]);
  }

  /** An empty directory is kept as such. */
  async #makeDirectory(path: string): Promise<void> {
    const { api, domain, dryRun } = this.#how;
    const key = this.#keyOf(path);
    if (key === '' || dryRun || (await this.#summaries.of(key)) !== undefined) return;
    await api.send({ method: 'PUT', path: directoryPath(domain, key), repeatable: true });
  }
}

/** As rsync has it: of the same size and time are the same. */
function same(a: LocalFile, b: LocalFile): boolean {
  return a.size === b.size && a.mtimeMs === b.mtimeMs;
}

function sameAsStored(file: LocalFile, stored: FileEntry): boolean {
  return file.size === stored.size && file.mtimeMs === Date.parse(stored.mtime);
}
