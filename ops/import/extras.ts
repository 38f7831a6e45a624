// What the store holds under the prefix and none of the directories has. With `--delete` it goes at the end of a run that
// took all else: only then is it certain that nobody has it.
import pLimit from 'p-limit';
import { type Api, directoryPath, filePath } from '../lib/api.ts';
import { EXIT, Failure, isProblem } from '../lib/failure.ts';
import type { FileEntry } from '../lib/types.ts';
import type { Report } from './report.ts';
import { filesIn, inByteOrder, type SummariesAhead } from './summaries.ts';
import type { LocalFile, Origin } from './tree.ts';

export interface ExtrasOptions {
  api: Api;
  domain: string;
  /** Before each key, without a trailing slash; '' for none. */
  prefix: string;
  origins: Origin[];
  report: Report;
  concurrency: number;
  dryRun: boolean;
}

export class Extras {
  readonly #how: ExtrasOptions;
  readonly #files: FileEntry[] = [];
  /** Keys of directories that were looked into. */
  readonly #visited = new Set<string>();
  /** Paths that were left out: what the store has there is nobody's business. */
  readonly #leftOut = new Set<string>();
  readonly #origins = new Set<Origin>();

  constructor(how: ExtrasOptions) {
    this.#how = how;
  }

  leftOut(path: string): void {
    this.#leftOut.add(path);
  }

  /** A directory is there, with these files. */
  visited(key: string, files: Iterable<LocalFile>): void {
    this.#visited.add(key);
    for (const { origin } of files) this.#origins.add(origin);
  }

  /** The store has files that none of the directories has. */
  add(files: Iterable<FileEntry>): void {
    for (const file of files) this.#files.push(file);
  }

  /**
   * Deletes what was found, unless something could not be taken.
   * @throws Failure if a directory holds no file at all
   */
  async end(summaries: SummariesAhead): Promise<void> {
    const { api, domain, origins, report, concurrency, dryRun } = this.#how;
    const empty = origins.find((origin) => !this.#origins.has(origin));
    if (empty !== undefined) {
      throw new Failure(`'${empty.name}' holds no file; it may not be mounted, so nothing is deleted`, {
        todo: 'leave it out, or leave --delete out',
        exit: EXIT.couldNotLook,
      });
    }
    const directories = await summaries.rest(this.#visited);
    for (const key of directories) this.add((await filesIn(api, domain, key)).values());
    const kept = report.counts.left + report.counts.failed > 0;
    const limit = pLimit(concurrency);
    const remove = async (file: FileEntry) => {
      const path = this.#pathOf(file.key);
      if (this.#isLeftOut(path)) return;
      if (!kept && !dryRun && !(await this.#delete(file))) return;
      report.extra(path, kept);
    };
    await limit.map(this.#files, remove);
    if (kept || dryRun) return;
    // Those below come first.
    for (const key of inByteOrder(directories).reverse()) {
      if (this.#isLeftOut(this.#pathOf(key))) continue;
      await unlessGone(api.send({ method: 'DELETE', path: directoryPath(domain, key), repeatable: true }));
    }
  }

  /** False if somebody has removed or replaced it since it was looked at. */
  #delete({ key, etag }: FileEntry): Promise<boolean> {
    const { api, domain } = this.#how;
    return unlessGone(
      api.send({
        method: 'DELETE',
        path: filePath(domain, key),
        headers: { 'if-match': etag },
        repeatable: true,
      }),
    );
  }

  #pathOf(key: string): string {
    const { prefix } = this.#how;
    return prefix === '' ? key : key.slice(prefix.length + 1);
  }

  #isLeftOut(path: string): boolean {
    for (let end = path.length; end > 0; end = path.lastIndexOf('/', end - 1)) {
      if (this.#leftOut.has(path.slice(0, end))) return true;
    }
    return false;
  }
}

async function unlessGone(removal: Promise<unknown>): Promise<boolean> {
  try {
    await removal;
    return true;
  } catch (error) {
    const there = [
      'file-not-found',
      'directory-not-found',
      'directory-not-empty',
      'precondition-failed',
    ] as const;
    if (isProblem(error, ...there)) return false;
    throw error;
  }
}
