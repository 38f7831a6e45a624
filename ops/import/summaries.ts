// What the store holds, directory by directory, so that those which are the same need not be listed.
import { hash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { encodeKey } from '../../services/keys.ts';
import { type Api, domainPath } from '../lib/api.ts';
import { listDirectory } from '../lib/listing.ts';
import type { FileEntry } from '../lib/types.ts';

export interface Summary {
  key: string;
  files: number;
  bytes: number;
  digest: string;
}

/** What files without a mode in the store count as having. */
export const DEFAULT_MODE = '0644';

/** What a summary's digest is made of, beside the names (docs/http-api.md). */
export interface Attributes {
  size: number;
  mtimeMs: number;
  mode: string;
}

/** Pages of the summaries of a directory and of all below it, in the byte order of their paths. None if there is none. */
async function* pagesOf(
  api: Api,
  domain: string,
  directory: string,
  limit?: number,
): AsyncGenerator<Summary[]> {
  let cursor: string | undefined;
  do {
    const page = await api.json<{ directories: Summary[]; next?: string }>({
      method: 'GET',
      path: `${domainPath(domain)}/summaries/${directory === '' ? '' : encodeKey(directory)}`,
      query: { cursor, limit },
    });
    yield page.directories;
    cursor = page.next;
  } while (cursor !== undefined);
}

/** The summaries of a directory and of all below it, by key. Empty if there is none. */
export async function summariesOf(
  api: Api,
  domain: string,
  directory: string,
): Promise<Map<string, Summary>> {
  const found = new Map<string, Summary>();
  for await (const page of pagesOf(api, domain, directory)) {
    for (const summary of page) found.set(summary.key, summary);
  }
  return found;
}

/** Small pages: the store makes the next one while the last is compared. */
const AHEAD = 20;

/** The same summaries for somebody who goes through a local tree meanwhile, directory by directory. */
export class SummariesAhead {
  readonly #found = new Map<string, Summary>();
  /** The path up to which all are known. */
  #known: Buffer | undefined;
  #ended = false;
  #failure: unknown;
  #arrival = Promise.withResolvers<void>();

  constructor(api: Api, domain: string, directory: string) {
    void this.#read(pagesOf(api, domain, directory, AHEAD));
  }

  /** Waits for the summary of a directory; undefined if there is no such directory. */
  async of(key: string): Promise<Summary | undefined> {
    // Lets answers in, for which nobody waits who only looks at a disk.
    await setImmediate();
    while (!this.#ended && !this.#isKnown(key)) await this.#arrival.promise;
    if (this.#failure !== undefined) throw this.#failure;
    return this.#found.get(key);
  }

  /** Waits for all, and names the directories that are not among these, in no order. */
  async rest(known: ReadonlySet<string>): Promise<string[]> {
    while (!this.#ended) await this.#arrival.promise;
    if (this.#failure !== undefined) throw this.#failure;
    return [...this.#found.keys()].filter((key) => !known.has(key));
  }

  /** Nobody asks any more. */
  stop(): void {
    this.#ended = true;
  }

  #isKnown(key: string): boolean {
    return this.#known !== undefined && Buffer.compare(pathOf(key), this.#known) <= 0;
  }

  async #read(pages: AsyncGenerator<Summary[]>): Promise<void> {
    try {
      for await (const page of pages) {
        for (const summary of page) this.#found.set(summary.key, summary);
        this.#known = pathOf(page.at(-1)?.key ?? '');
        if (this.#ended) return;
        this.#arrival.resolve();
        this.#arrival = Promise.withResolvers();
      }
    } catch (error) {
      this.#failure = error;
    }
    this.#ended = true;
    this.#arrival.resolve();
  }
}

const pathOf = (key: string) => Buffer.from(key === '' ? '' : `${key}/`);

/** Whether a directory of the store holds these files, by name, and no others. */
export function holdsSame(summary: Summary | undefined, files: ReadonlyMap<string, Attributes>): boolean {
  if (summary?.files !== files.size) return false;
  let lines = '';
  for (const name of inByteOrder([...files.keys()])) {
    const { size, mtimeMs, mode } = files.get(name) as Attributes;
    lines += `${name}/${size}/${mtimeMs}/${mode}\n`;
  }
  return summary.digest === hash('sha256', lines, 'hex');
}

/** Sorts names as the store does: by their bytes in UTF-8. */
export function inByteOrder(names: string[]): string[] {
  // Only where there are surrogates does the order of UTF-16 units differ from that of the bytes.
  if (!names.some((name) => /[\ud800-\udfff]/.test(name))) return names.sort();
  return names.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** The files in one directory of the store, by name. */
export async function filesIn(api: Api, domain: string, directory: string): Promise<Map<string, FileEntry>> {
  const files = new Map<string, FileEntry>();
  for await (const entry of listDirectory(api, domain, directory)) {
    if (entry.kind === 'file') files.set(entry.key.slice(entry.key.lastIndexOf('/') + 1), entry);
  }
  return files;
}
