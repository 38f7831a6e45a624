// The answer to GET and HEAD of a file: conditions, ranges, names to download under, and the ways that the bytes can
// take: through the tracker, by a redirect to a storage node, or by an nginx in front of the tracker.
import { Readable } from 'node:stream';
import { create as contentDisposition } from 'content-disposition';
import { parseDictionary } from 'structured-headers';
import { evaluateConditions, rangeApplies } from '../../services/conditions.ts';
import { etagOf, formatDigest } from '../../services/digests.ts';
import type { FastifyReply, FastifyRequest } from '../../services/http.ts';
import { splitKey } from '../../services/keys.ts';
import { Problem } from '../../services/problems.ts';
import { answerRanges, rangeNotSatisfiable, selectRanges } from '../../services/ranges.ts';
import type { DomainState } from '../cluster/state.ts';
import type { FoundFile } from '../namespace/types.ts';
import type { Tracker } from '../tracker.ts';
import { Replicas, WHOLE_BYTES } from '../transfer/download.ts';

export interface DownloadQuery {
  /** Ask for a download under this name; '' takes the key's last segment. */
  download?: string;
  via?: 'redirect';
  /** How long the ticketed URL may be valid, at most. */
  seconds?: number;
}

/** Answers with the file, or a part of it, or why not. `redirect`: the token allows ?via=redirect. */
export async function answerDownload(
  tracker: Tracker,
  request: FastifyRequest,
  reply: FastifyReply,
  what: { domain: DomainState; file: FoundFile; query: DownloadQuery; redirect: boolean },
): Promise<FastifyReply> {
  const { domain, file, query } = what;
  const { headers } = request;
  const current = { etag: etagOf(file.sha256), lastModified: file.mtime };
  const verdict = evaluateConditions(headers, current);
  if (verdict === 'precondition-failed') {
    throw new Problem('precondition-failed', `The key holds the version ${current.etag}.`, {
      headers: { etag: current.etag },
    });
  }
  const fields = fileHeaders(file, query, request);
  if (verdict === 'not-modified') {
    const { etag, 'last-modified': modified, 'cache-control': cache } = fields;
    return reply.code(304).headers({ etag, 'last-modified': modified, 'cache-control': cache }).send();
  }
  const replicas = new Replicas(tracker, domain, file, request.id);
  if (query.via === 'redirect') {
    if (!what.redirect) throw new Problem('not-permitted', 'The token does not allow redirects.');
    const location = await ticketedUrl(tracker, replicas, file, fields, query.seconds);
    const content = contentName(fields);
    return reply
      .code(307)
      .headers({ location, 'cistern-content': content, 'cache-control': 'no-store' })
      .send();
  }
  reply.headers(fields);
  if (request.method === 'HEAD') return reply.header('content-length', file.size).send();
  const prefix = tracker.config.CISTERN_X_ACCEL_PREFIX;
  if (prefix !== undefined) {
    const { host, pathname, search } = new URL(await ticketedUrl(tracker, replicas, file, fields));
    const internal = `${prefix.replace(/\/$/, '')}/${host}${pathname}${search}`;
    return reply.header('x-accel-redirect', internal).send();
  }
  const ranges = rangeApplies(headers, current) ? selectRanges(headers.range, file.size) : undefined;
  if (ranges === 'unsatisfiable') throw rangeNotSatisfiable(file.size);
  if (ranges !== undefined) {
    const answer = answerRanges(ranges, file.size, file.contentType);
    const body = await begun(answer.body((range) => replicas.bytes(range)));
    return reply.code(206).headers(answer.headers).send(body);
  }
  if (file.size <= WHOLE_BYTES) return reply.send(await replicas.whole());
  const body = await begun(replicas.verifiedBytes());
  return reply.header('content-length', file.size).send(body);
}

/** Response headers of the file's bytes, whoever sends them. */
function fileHeaders(file: FoundFile, { download }: DownloadQuery, { headers }: FastifyRequest) {
  const fields: Record<string, string> & { etag: string } = {
    etag: etagOf(file.sha256),
    'last-modified': file.mtime.toUTCString(),
    'content-type': file.contentType,
    'accept-ranges': 'bytes',
    'cache-control': 'private, no-cache',
    'x-content-type-options': 'nosniff',
  };
  if (download !== undefined) {
    fields['content-disposition'] = contentDisposition(download === '' ? splitKey(file.key).name : download);
  }
  if (wantsDigest(headers['want-repr-digest'])) fields['repr-digest'] = formatDigest(file.sha256);
  return fields;
}

/** What tells the answer of one ticketed URL from those of others, for caches: the URL itself is another each time. */
function contentName(fields: Record<string, string>): string {
  const telling = ['etag', 'last-modified', 'content-type', 'content-disposition', 'repr-digest'];
  return telling.map((name) => fields[name] ?? '').join(';');
}

/** Want-Repr-Digest (RFC 9530, 4): a preference of 0 means 'not this one'. A malformed field wants nothing. */
function wantsDigest(field: string | string[] | undefined): boolean {
  if (field === undefined) return false;
  try {
    const preference = parseDictionary(field.toString()).get('sha-256')?.[0];
    return typeof preference === 'number' && preference > 0;
  } catch {
    return false;
  }
}

async function ticketedUrl(
  { nodes, state, config }: Tracker,
  replicas: Replicas,
  { fid, size, sha256 }: FoundFile,
  headers: Record<string, string>,
  seconds = config.CISTERN_TICKET_SECONDS,
): Promise<string> {
  const device = await replicas.pick();
  const exp = state.now() + Math.min(seconds, config.CISTERN_TICKET_SECONDS) * 1000;
  return nodes.ticketUrl(device, { op: 'get', dev: device.id, fid, size, sha256, headers, exp });
}

/** A stream whose first piece is there: until then, a failure can still be answered as one. */
async function begun(pieces: AsyncGenerator<Uint8Array>): Promise<Readable> {
  const first = await pieces.next();
  async function* all() {
    if (!first.done) yield first.value;
    yield* pieces;
  }
  return Readable.from(all(), { objectMode: false });
}
