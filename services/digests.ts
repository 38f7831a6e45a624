// SHA-256 digests as HTTP fields: Content-Digest and Repr-Digest (RFC 9530), and the ETag made from them.
import { parseDictionary } from 'structured-headers';
import { Problem } from './problems.ts';

/**
 * The SHA-256 that a client announces in Content-Digest or Repr-Digest, as lower-case hex; undefined without one.
 * For a plain upload the two mean the same. Other algorithms are ignored, as RFC 9530 (section 2) allows.
 * @throws Problem invalid-request if a field is malformed or the two differ
 */
export function announcedDigest(headers: Record<string, string | string[] | undefined>): string | undefined {
  const content = parseDigest('Content-Digest', headers['content-digest']);
  const repr = parseDigest('Repr-Digest', headers['repr-digest']);
  if (content !== undefined && repr !== undefined && content !== repr) {
    throw new Problem('invalid-request', 'Content-Digest and Repr-Digest name different SHA-256 digests.');
  }
  return content ?? repr;
}

function parseDigest(field: string, value: string | string[] | undefined): string | undefined {
  if (value === undefined) return undefined;
  let item: unknown;
  try {
    item = parseDictionary(Array.isArray(value) ? value.join(', ') : value).get('sha-256')?.[0];
  } catch {
    throw new Problem('invalid-request', `${field} is not a valid structured field (RFC 9530).`);
  }
  if (item === undefined) return undefined;
  if (!(item instanceof ArrayBuffer) || item.byteLength !== 32) {
    throw new Problem(
      'invalid-request',
      `${field}: sha-256 must be 32 bytes as a byte sequence (':base64:').`,
    );
  }
  return Buffer.from(item).toString('hex');
}

/** `sha-256=:base64:`, the value of a Repr-Digest field, for a digest in hex. */
export function formatDigest(sha256: string): string {
  return `sha-256=:${Buffer.from(sha256, 'hex').toString('base64')}:`;
}

/** The strong ETag of a file: its digest in hex, quoted. */
export function etagOf(sha256: string): string {
  return `"${sha256}"`;
}
