// Preconditions of writes: If-Match and If-None-Match (RFC 9110, 13.1), decided inside the transaction that writes.
import { etagOf } from '../../services/digests.ts';
import { Problem } from '../../services/problems.ts';
import type { FoundFile, Precondition } from './types.ts';

type Headers = Record<string, string | string[] | undefined>;

/**
 * Reads If-None-Match and If-Match of a write. If-None-Match with entity tags has no use in a write and is refused
 * rather than ignored.
 * @throws Problem invalid-request
 */
export function parsePrecondition(headers: Headers): Precondition | undefined {
  const noneMatch = headers['if-none-match']?.toString().trim();
  const match = headers['if-match']?.toString().trim();
  if (noneMatch === undefined && match === undefined) return undefined;
  if (noneMatch !== undefined && noneMatch !== '*') {
    throw new Problem('invalid-request', "If-None-Match of a write can only be '*' (create, never replace).");
  }
  const wanted = match === undefined || match === '*' ? match : parseTags(match);
  return {
    ...(noneMatch === '*' ? { ifNoneMatch: '*' as const } : {}),
    ...(wanted === undefined ? {} : { ifMatch: wanted as '*' | string[] }),
  };
}

function parseTags(value: string): string[] {
  const tags = value.split(',').map((tag) => tag.trim());
  return tags.map((tag) => {
    // If-Match compares strongly (RFC 9110, 8.8.3.2): a weak tag never matches, and is kept as one that cannot.
    if (!/^(W\/)?"[\x21\x23-\x7e\x80-\xff]*"$/.test(tag)) {
      throw new Problem('invalid-request', "If-Match must be '*' or a list of quoted entity tags.");
    }
    return tag.startsWith('W/') ? 'weak' : tag.slice(1, -1);
  });
}

/**
 * Compares a precondition with what the key holds now (a file, or nothing).
 * @throws Problem precondition-failed, with the present version's ETag
 */
export function checkPrecondition(
  precondition: Precondition | undefined,
  current: Pick<FoundFile, 'sha256'> | undefined,
): void {
  if (precondition === undefined) return;
  const { ifNoneMatch, ifMatch } = precondition;
  if (ifNoneMatch === '*' && current !== undefined) throw preconditionFailed(current);
  if (ifMatch === undefined) return;
  if (current === undefined) throw preconditionFailed(undefined);
  if (ifMatch !== '*' && !ifMatch.includes(current.sha256)) throw preconditionFailed(current);
}

/** 412, with what the key holds now, so that the client can decide without asking again. */
export function preconditionFailed(current: Pick<FoundFile, 'sha256'> | undefined): Problem {
  if (current === undefined) return new Problem('precondition-failed', 'The key names no file.');
  const etag = etagOf(current.sha256);
  return new Problem('precondition-failed', `The key holds the version ${etag}.`, { headers: { etag } });
}
