// What the store holds, directory by directory, so that those which are the same need not be listed.
import { hash } from 'node:crypto';
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

/** What a summary's digest is made of (docs/http-api.md). */
export interface Named {
  name: string;
  size: number;
  mtimeMs: number;
  mode: string;
}

/** The summaries of a directory and of all below it, by key. Empty if there is none. */
export async function summariesOf(
  api: Api,
  domain: string,
  directory: string,
): Promise<Map<string, Summary>> {
  const found = new Map<string, Summary>();
  let cursor: string | undefined;
  do {
    const page = await api.json<{ directories: Summary[]; next?: string }>({
      method: 'GET',
      path: `${domainPath(domain)}/summaries/${directory === '' ? '' : encodeKey(directory)}`,
      query: { cursor },
    });
    for (const summary of page.directories) found.set(summary.key, summary);
    cursor = page.next;
  } while (cursor !== undefined);
  return found;
}

/** The digest of files, which must be in byte order of their names. */
export function digestOf(files: Named[]): string {
  let lines = '';
  for (const { name, size, mtimeMs, mode } of files) lines += `${name}/${size}/${mtimeMs}/${mode}\n`;
  return hash('sha256', lines, 'hex');
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
