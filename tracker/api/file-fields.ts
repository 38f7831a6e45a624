// What clients say about a file in headers, as PUT, POST and PATCH take it.
import { lookup } from 'mime-types';
import type { FastifyRequest } from '../../services/http.ts';
import { splitKey } from '../../services/keys.ts';
import { Problem } from '../../services/problems.ts';
import type { Meta } from '../namespace/types.ts';

/** Longest `meta` in bytes, as JSON. */
export const MAX_META_BYTES = 2048;
const MAX_TYPE_LENGTH = 255;

/** The Content-Type that is given, or else the one that the key's extension stands for. */
export function contentTypeFor(key: string, given: string | undefined): string {
  if (given !== undefined && given !== '') return validContentType(given);
  return lookup(splitKey(key).name) || 'application/octet-stream';
}

/**
 * Checks the form `type/subtype; parameters` (RFC 9110, 8.3.1), since it is sent to others as a header later.
 * @throws Problem invalid-request
 */
export function validContentType(type: string): string {
  if (
    type.length <= MAX_TYPE_LENGTH &&
    /^[\w!#$&^.+*'-]+\/[\w!#$&^.+*'-]+\s*(;[\t\x20-\x7e]*)?$/.test(type)
  ) {
    return type;
  }
  throw new Problem(
    'invalid-request',
    `The content type must have the form type/subtype, in ASCII, with at most ${MAX_TYPE_LENGTH} characters.`,
  );
}

/** An ISO 8601 time with its zone. @throws Problem invalid-request */
export function parseMtime(text: string): Date {
  return new Date(validTime(text, 'mtime'));
}

/** Checks an ISO 8601 time with its zone; `what` it is. @throws Problem invalid-request */
export function validTime(text: string, what: string): string {
  const form = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/;
  const time = form.test(text) ? Date.parse(text) : Number.NaN;
  // At the ends of the four-digit years a zone can lead out of them, and such a time could not be shown again.
  if (time >= EARLIEST && time <= LATEST) return text;
  throw new Problem(
    'invalid-request',
    `The ${what} must be an ISO 8601 time with a zone: 2026-11-23T10:00:00Z.`,
  );
}

const EARLIEST = Date.parse('0001-01-01T00:00:00Z');
const LATEST = Date.parse('9999-12-31T23:59:59Z');

/**
 * Checks a `meta` object against what can be kept of it.
 * @throws Problem invalid-request
 */
export function validMeta(meta: unknown): Meta {
  if (typeof meta !== 'object' || meta === null || Array.isArray(meta)) {
    throw new Problem('invalid-request', 'The meta must be a JSON object.');
  }
  const text = JSON.stringify(meta);
  if (Buffer.byteLength(text) > MAX_META_BYTES) {
    throw new Problem('invalid-request', `The meta is longer than ${MAX_META_BYTES} bytes.`);
  }
  // JSON.stringify escapes exactly what PostgreSQL cannot keep in jsonb: NUL and lone surrogates.
  if (/(?<!\\)(\\\\)*\\u(0000|d[89a-f])/.test(text)) {
    throw new Problem('invalid-request', 'The meta contains a NUL character or a lone surrogate.');
  }
  return meta as Meta;
}

/** The class, time and meta in `Cistern-Class`, `Cistern-Mtime` and `Cistern-Meta`. @throws Problem invalid-request */
export function fileFields({ headers }: FastifyRequest): {
  class?: string;
  mtime?: Date;
  meta?: Meta;
  past?: true;
} {
  const version = headers['cistern-version'];
  if (version !== undefined && version !== 'past') {
    throw new Problem('invalid-request', "Cistern-Version can only be 'past'.");
  }
  const className = headers['cistern-class']?.toString();
  const mtime = headers['cistern-mtime']?.toString();
  const meta = headers['cistern-meta']?.toString();
  return {
    ...(className === undefined ? {} : { class: className }),
    ...(mtime === undefined ? {} : { mtime: parseMtime(mtime) }),
    ...(meta === undefined ? {} : { meta: parseMeta(meta) }),
    ...(version === undefined ? {} : { past: true }),
  };
}

function parseMeta(header: string): Meta {
  let meta: unknown;
  try {
    // Node reads header fields as Latin-1; JSON is UTF-8.
    meta = JSON.parse(Buffer.from(header, 'latin1').toString());
  } catch {
    throw new Problem('invalid-request', 'Cistern-Meta is not valid JSON.');
  }
  return validMeta(meta);
}

/** Content-Length in bytes; undefined for a chunked body. */
export function contentLength({ headers }: FastifyRequest): number | undefined {
  if (headers['transfer-encoding'] !== undefined) return undefined;
  return Number(headers['content-length'] ?? 0);
}
