// Lists that come in pages, as one sequence each; and looking up what keys are.
import { type Api, directoryPath, domainPath } from './api.ts';
import { isProblem } from './failure.ts';
import type { Entry, TrashedVersion } from './types.ts';

/** The entries of a directory: one level by name, or (recursive) all below it, directories before their files. */
export function listDirectory(
  api: Api,
  domain: string,
  path: string,
  recursive = false,
): AsyncGenerator<Entry> {
  const query = { recursive: recursive || undefined, limit: 1000 };
  return pages(async (cursor) => {
    const page = await api.json<{ entries: Entry[]; next?: string }>({
      method: 'GET',
      path: directoryPath(domain, path),
      query: { ...query, cursor },
    });
    return { items: page.entries, next: page.next };
  });
}

/** The versions in the trash, newest first. */
export function listTrash(api: Api, domain: string, prefix?: string): AsyncGenerator<TrashedVersion> {
  return pages(async (cursor) => {
    const page = await api.json<{ versions: TrashedVersion[]; next?: string }>({
      method: 'GET',
      path: `${domainPath(domain)}/trash`,
      query: { prefix, limit: 1000, cursor },
    });
    return { items: page.versions, next: page.next };
  });
}

async function* pages<T>(
  fetchPage: (cursor: string | undefined) => Promise<{ items: T[]; next: string | undefined }>,
): AsyncGenerator<T> {
  let cursor: string | undefined;
  do {
    const page = await fetchPage(cursor);
    yield* page.items;
    cursor = page.next;
  } while (cursor !== undefined);
}

/**
 * What each key is, or null, in the same order; any number of keys. Keys that are not valid are a Problem.
 * @throws Problem invalid-key, domain-not-found ...
 */
export async function statKeys(api: Api, domain: string, keys: string[]): Promise<(Entry | null)[]> {
  const found: (Entry | null)[] = [];
  for (let i = 0; i < keys.length; i += 1000) {
    const { entries } = await api.json<{ entries: (Entry | null)[] }>({
      method: 'POST',
      path: `${domainPath(domain)}/stat`,
      json: { keys: keys.slice(i, i + 1000) },
      repeatable: true,
    });
    found.push(...entries);
  }
  return found;
}

/** True if an error says that what was asked for as a directory is a file, or is not there at all. */
export function isNoDirectory(error: unknown): boolean {
  return isProblem(error, 'directory-not-found', 'not-a-directory');
}
