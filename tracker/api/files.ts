// Files: PUT, GET, HEAD, DELETE and PATCH of /v1/domains/{domain}/files/{key}.
import { Type } from 'typebox';
import { announcedDigest } from '../../services/digests.ts';
import {
  type FastifyReply,
  type FastifyRequest,
  failUnlessAnswered,
  type Server,
} from '../../services/http.ts';
import { Problem } from '../../services/problems.ts';
import type { DomainState } from '../cluster/state.ts';
import { checkPrecondition, parsePrecondition } from '../namespace/preconditions.ts';
import type { Found, Precondition, Upload } from '../namespace/types.ts';
import type { Tracker } from '../tracker.ts';
import { Superseded } from '../transfer/download.ts';
import { storeBody, WHOLE_BYTES } from '../transfer/upload.ts';
import { authorize } from './auth.ts';
import { answerDownload } from './download.ts';
import {
  contentLength,
  contentTypeFor,
  fileFields,
  parseMtime,
  validContentType,
  validMeta,
} from './file-fields.ts';
import { idempotencyOf } from './idempotency.ts';
import { FILE_URL, keyOf } from './keys.ts';
import { answerFor, keepOrDiscard, nameUploads, sendEntry } from './naming.ts';
import { problems } from './openapi.ts';
import { ConditionHeaders, FileEntry, FileHeaders, KeyPath, Meta, strict, WriteHeaders } from './schemas.ts';

const tags = ['files'];
const url = FILE_URL;

export function fileRoutes(server: Server, tracker: Tracker): void {
  server.register(async (scope) => putRoute(scope as unknown as Server, tracker));
  getRoute(server, tracker);
  deleteRoute(server, tracker);
  patchRoute(server, tracker);
}

function putRoute(server: Server, tracker: Tracker): void {
  // The body is the file, whatever its type: the route reads it itself.
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('*', (_request, _body, done) => done(null));
  server.put(
    url,
    {
      schema: {
        tags,
        summary: 'Store a file: the body, as it is',
        description:
          'Answers when minCopies devices on different hosts hold the bytes, fsynced. See docs/http-api.md for the headers.',
        params: KeyPath,
        headers: FileHeaders,
        response: {
          200: FileEntry,
          201: FileEntry,
          ...problems(
            'invalid-request',
            'invalid-key',
            'digest-mismatch',
            'truncated-body',
            'domain-not-found',
            'class-not-found',
            'is-a-directory',
            'not-a-directory',
            'precondition-failed',
            'body-too-large',
            'too-few-devices',
            'insufficient-storage',
          ),
        },
      },
    },
    async (request, reply) => {
      try {
        return await storeFile(tracker, request, reply);
      } catch (error) {
        return failUnlessAnswered(reply, error);
      }
    },
  );
}

function getRoute(server: Server, tracker: Tracker): void {
  server.route({
    method: ['GET', 'HEAD'],
    url,
    exposeHeadRoute: false,
    schema: {
      tags,
      summary: 'Read a file, or ranges of it',
      description: 'Range and conditional requests follow RFC 9110. A HEAD gets the same headers.',
      params: KeyPath,
      querystring: Type.Object(
        {
          download: Type.Optional(
            Type.String({ maxLength: 1024, description: 'as an attachment of this name (RFC 6266)' }),
          ),
          via: Type.Optional(
            Type.Literal('redirect', { description: '307 to a ticketed URL at a storage node' }),
          ),
          seconds: Type.Optional(
            Type.Integer({ minimum: 1, description: "the redirect's URL is valid for at most so long" }),
          ),
        },
        strict,
      ),
      response: problems(
        'invalid-key',
        'domain-not-found',
        'file-not-found',
        'is-a-directory',
        'precondition-failed',
        'range-not-satisfiable',
        'no-good-replica',
      ),
    },
    handler: async (request, reply) => {
      const { domain, key, grant } = await target(tracker, request, 'read');
      const { query } = request;
      const answer = (found: Found | undefined) => {
        const file = asFile(found, key);
        return answerDownload(tracker, request, reply, { domain, file, query, redirect: grant.redirect });
      };
      try {
        const { found, stale } = await tracker.namespace.read(domain, key);
        if (stale !== undefined) {
          tracker.staleReads.inc();
          reply.header('cistern-stale', stale);
        }
        return await answer(found);
      } catch (error) {
        if (!(error instanceof Superseded)) throw error;
        return await answer(error.found);
      }
    },
  });
}

function deleteRoute(server: Server, tracker: Tracker): void {
  server.delete(
    url,
    {
      schema: {
        tags,
        summary: 'Delete a file; the version goes to the trash if its class says so',
        params: KeyPath,
        headers: WriteHeaders,
        response: {
          204: Type.Null({ description: 'Deleted' }),
          ...problems(
            'invalid-request',
            'invalid-key',
            'domain-not-found',
            'file-not-found',
            'is-a-directory',
            'precondition-failed',
          ),
        },
      },
    },
    async (request, reply) => {
      const { domain, key } = await target(tracker, request, 'write');
      const precondition = parsePrecondition(request.headers);
      await tracker.namespace.remove(domain, key, precondition, idempotencyOf(request));
      return reply.code(204).send(null);
    },
  );
}

function patchRoute(server: Server, tracker: Tracker): void {
  server.patch(
    url,
    {
      schema: {
        tags,
        summary: 'Change what is kept about a file; meta replaces the whole object',
        params: KeyPath,
        headers: ConditionHeaders,
        body: Type.Object(
          {
            contentType: Type.Optional(Type.String()),
            mtime: Type.Optional(Type.String({ description: 'ISO 8601 with a zone' })),
            meta: Type.Optional(Meta),
          },
          strict,
        ),
        response: {
          200: FileEntry,
          ...problems(
            'invalid-request',
            'invalid-key',
            'domain-not-found',
            'file-not-found',
            'is-a-directory',
            'precondition-failed',
          ),
        },
      },
    },
    async (request, reply) => {
      const { domain, key } = await target(tracker, request, 'write');
      const { contentType, mtime, meta } = request.body;
      const change = {
        ...(contentType === undefined ? {} : { contentType: validContentType(contentType) }),
        ...(mtime === undefined ? {} : { mtime: parseMtime(mtime) }),
        ...(meta === undefined ? {} : { meta: validMeta(meta) }),
      };
      const precondition = parsePrecondition(request.headers);
      const entry = await tracker.namespace.patch(domain, key, change, precondition);
      return sendEntry(reply, domain, { status: 200, body: entry });
    },
  );
}

/** The file that a request is about, once its token was found to permit it. */
async function target(tracker: Tracker, request: FastifyRequest, scope: 'read' | 'write') {
  const key = keyOf(request, 'files');
  const domain = await tracker.state.domain((request.params as { domain: string }).domain);
  const grant = await authorize(tracker, request, { scope, domain, keys: [key] });
  return { key, domain, grant };
}

async function storeFile(
  tracker: Tracker,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { domain, key } = await target(tracker, request, 'write');
  const fields = fileFields(request);
  const contentType = contentTypeFor(key, request.headers['content-type']);
  const precondition = parsePrecondition(request.headers);
  const idempotency = idempotencyOf(request);
  const length = contentLength(request);
  const sha256 = announcedDigest(request.headers);
  const fileClass = tracker.state.classFor(domain, key, fields.class);
  const first = await tracker.namespace.firstAnswer(domain, idempotency);
  if (first !== undefined) return sendEntry(reply, domain, first);
  if (precondition !== undefined || length === undefined || length > WHOLE_BYTES) {
    await refuseEarly(tracker, domain, key, precondition);
  }

  const { raw: body, id: requestId } = request;
  const incoming = { domain, key, class: fileClass, body, length, sha256, requestId };
  const stored = await storeBody(tracker, incoming);
  const { fid, size, devices } = stored;
  const { mtime, meta } = fields;
  const upload: Upload = {
    domain,
    key,
    fid,
    class: fileClass,
    size,
    sha256: stored.sha256,
    contentType,
    devices,
    ...(mtime === undefined ? {} : { mtime }),
    ...(meta === undefined ? {} : { meta }),
    ...(precondition === undefined ? {} : { precondition }),
  };
  if (fields.past) {
    if (precondition !== undefined || idempotency !== undefined) {
      throw new Problem(
        'invalid-request',
        'Cistern-Version: past takes no precondition and no Idempotency-Key.',
      );
    }
    const entry = await keepOrDiscard(tracker, upload, stored);
    return sendEntry(reply, domain, { status: 200, body: entry });
  }
  const how = { idempotency, answer: answerFor };
  return sendEntry(reply, domain, await nameUploads(tracker, domain, [upload], [stored], how));
}

/** Refuses before the body is read what the commit would refuse after it. */
async function refuseEarly(
  { namespace }: Tracker,
  domain: DomainState,
  key: string,
  precondition: Precondition | undefined,
): Promise<void> {
  const found = await namespace.find(domain, key);
  if (found !== undefined) checkPrecondition(precondition, asFile(found, key));
  else checkPrecondition(precondition, undefined);
}

function asFile(found: Found | undefined, key: string) {
  if (found === undefined) throw new Problem('file-not-found', `There is no file '${key}'.`);
  if (found.kind === 'directory') throw new Problem('is-a-directory', `'${key}' is a directory.`);
  return found;
}
