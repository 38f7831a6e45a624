// Names as clients send them: validated once, at the door. A key is a path within a domain, `a/b/c.jpg`, without a
// leading or trailing slash; everything but NUL and the segments '', '.' and '..' is allowed in it.
import { Problem } from './problems.ts';

/** Longest key in bytes of UTF-8, and so the longest directory path. */
export const MAX_KEY_BYTES = 1024;

/**
 * Decodes a percent-encoded key as it stands in a URL path (RFC 3986, 2.1) and validates it.
 * '+' is an ordinary character in a path. `%2F` is the same as '/'.
 * @throws Problem invalid-key
 */
export function decodeKey(encoded: string): string {
  let key: string;
  try {
    // decodeURIComponent refuses malformed escapes and invalid UTF-8 alike.
    key = decodeURIComponent(encoded);
  } catch {
    throw new Problem('invalid-key', 'The key has a malformed percent-encoding or is not valid UTF-8.');
  }
  return validateKey(key);
}

/** Like decodeKey, but '' (the domain's root) and one trailing slash are allowed: the path of a directory. */
export function decodeDirectory(encoded: string): string {
  const trimmed = encoded.endsWith('/') ? encoded.slice(0, -1) : encoded;
  return trimmed === '' ? '' : decodeKey(trimmed);
}

/**
 * Validates a key that was given as text (in JSON, or by multipart).
 * @throws Problem invalid-key saying which rule it breaks
 */
export function validateKey(key: string): string {
  const refuse = (why: string): never => {
    throw new Problem('invalid-key', why);
  };
  if (key === '') refuse('The key is empty.');
  if (Buffer.byteLength(key) > MAX_KEY_BYTES) refuse(`The key is longer than ${MAX_KEY_BYTES} bytes.`);
  if (key.includes('\0')) refuse('The key contains a NUL character.');
  if (!key.isWellFormed()) refuse('The key is not valid Unicode (a lone surrogate).');
  for (const segment of key.split('/')) {
    if (segment === '') refuse("The key has an empty segment (a leading, trailing or doubled '/').");
    if (segment === '.' || segment === '..') refuse(`The key has the segment '${segment}'.`);
  }
  return key;
}

/** Encodes a key for a URL path: each segment by itself, the slashes kept. */
export function encodeKey(key: string): string {
  return key.split('/').map(encodeURIComponent).join('/');
}

/** Splits a key into its directory's path ('' for the root, else with a trailing slash) and its last segment. */
export function splitKey(key: string): { path: string; name: string } {
  const slash = key.lastIndexOf('/') + 1;
  return { path: key.slice(0, slash), name: key.slice(slash) };
}

/** Names of domains, classes and hosts: what fits a URL, a file name and a shell without quoting. */
export const NAME_PATTERN = '^[a-z0-9][a-z0-9._-]{0,62}$';
