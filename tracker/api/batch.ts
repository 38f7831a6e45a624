// Many small files in one request: POST /v1/domains/{domain}/batch. What a request costs by itself is shared by all of
// them; each is stored and named, or refused, by itself.
import { Type } from 'typebox';
import type { FastifyRequest, Server } from '../../services/http.ts';
import { validateKey } from '../../services/keys.ts';
import { Problem, type ProblemJson } from '../../services/problems.ts';
import { matches } from '../../services/schemas.ts';
import type { DomainState } from '../cluster/state.ts';
import type { Committed, FileEntry, Precondition, Upload } from '../namespace/types.ts';
import type { Tracker } from '../tracker.ts';
import { storeBytes, tooLarge, WHOLE_BYTES } from '../transfer/upload.ts';
import { authorize } from './auth.ts';
import { contentTypeFor, parseMtime, validMeta } from './file-fields.ts';
import { keepOrDiscard, nameUploads } from './naming.ts';
import { problems } from './openapi.ts';
import { DomainPath, FileEntry as FileEntrySchema, Meta, strict } from './schemas.ts';

const MAX_FILES = 1_000;
const MAX_BYTES = 16 * 1024 * 1024;
const MEDIA_TYPE = 'application/vnd.cistern.batch';

/** A file of a batch. Its bytes follow the manifest, in the manifest's order. */
const BatchFile = Type.Object(
  {
    key: Type.String(),
    size: Type.Integer({ minimum: 0, maximum: WHOLE_BYTES }),
    sha256: Type.Optional(Type.String({ pattern: '^[0-9a-f]{64}$' })),
    contentType: Type.Optional(Type.String()),
    class: Type.Optional(Type.String()),
    mtime: Type.Optional(Type.String()),
    meta: Type.Optional(Meta),
    /** '*': only if the key is free. */
    ifNoneMatch: Type.Optional(Type.Literal('*')),
    /** SHA-256 in hex of the version that it may replace. */
    ifMatch: Type.Optional(Type.String({ pattern: '^[0-9a-f]{64}$' })),
    /** Into the trash, as a former version of the key. */
    past: Type.Optional(Type.Literal(true)),
  },
  strict,
);
const Manifest = Type.Array(BatchFile, { minItems: 1, maxItems: MAX_FILES });
type File = Type.Static<typeof BatchFile>;

const Results = Type.Object(
  {
    results: Type.Array(
      Type.Union([FileEntrySchema, Type.Object({ type: Type.String() }, { additionalProperties: true })]),
    ),
  },
  strict,
);

export function batchRoutes(server: Server, tracker: Tracker): void {
  server.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser(
      MEDIA_TYPE,
      { parseAs: 'buffer', bodyLimit: MAX_BYTES },
      (_request: FastifyRequest, body: Buffer, done: (error: null, body: Buffer) => void) => done(null, body),
    );
    (scope as unknown as Server).post(
      '/v1/domains/:domain/batch',
      {
        bodyLimit: MAX_BYTES,
        schema: {
          tags: ['files'],
          summary: 'Store up to 1,000 small files, each by itself',
          description:
            'A JSON array of {key, size, sha256?, ...}, as long as Cistern-Manifest-Length says, and then the bytes of all files. ' +
            'Answers with a file entry or a problem for each, in order.',
          consumes: [MEDIA_TYPE],
          params: DomainPath,
          headers: Type.Object(
            { 'cistern-manifest-length': Type.Integer({ minimum: 2, maximum: MAX_BYTES }) },
            { additionalProperties: true },
          ),
          response: {
            200: Results,
            ...problems('invalid-request', 'domain-not-found', 'body-too-large', 'unsupported-media-type'),
          },
        },
      },
      async (request, reply) => {
        const domain = await tracker.state.domain(request.params.domain);
        // A prefix is compared for each file, below.
        const { prefix } = await authorize(tracker, request, {
          scope: 'write',
          domain,
          keys: [request.grant?.prefix ?? ''],
        });
        const parts = unpack(request.body as unknown as Buffer, request.headers['cistern-manifest-length']);
        const results = await Promise.all(
          parts.map(([file, bytes]) => storeOne(tracker, request, domain, { prefix, file, bytes })),
        );
        // The entries are ours and whole; to choose a schema for each of them would cost more than all the rest.
        return reply.type('application/json; charset=utf-8').send(JSON.stringify({ results }) as never);
      },
    );
  });
}

function unpack(body: Buffer, length: number): [File, Buffer][] {
  let manifest: unknown;
  try {
    manifest = JSON.parse(body.subarray(0, length).toString());
  } catch {
    throw new Problem('invalid-request', 'The manifest is not valid JSON of Cistern-Manifest-Length bytes.');
  }
  if (!matches(Manifest, manifest)) {
    throw new Problem(
      'invalid-request',
      `The manifest is not an array of 1 to ${MAX_FILES} files as /openapi.json has it.`,
    );
  }
  let at = length;
  const parts = manifest.map((file): [File, Buffer] => {
    const start = at;
    at += file.size;
    return [file, body.subarray(start, at)];
  });
  if (at !== body.length) {
    throw new Problem(
      'invalid-request',
      `The manifest speaks of ${at} bytes, itself included; the body has ${body.length}.`,
    );
  }
  return parts;
}

async function storeOne(
  tracker: Tracker,
  request: FastifyRequest,
  domain: DomainState,
  { prefix, file, bytes }: { prefix: string; file: File; bytes: Buffer },
): Promise<FileEntry | ProblemJson> {
  try {
    const key = validateKey(file.key);
    if (!key.startsWith(prefix)) {
      throw new Problem('not-permitted', `The token is only for keys that begin with '${prefix}'.`);
    }
    if (bytes.length > tracker.config.CISTERN_MAX_UPLOAD_BYTES)
      throw tooLarge(tracker.config.CISTERN_MAX_UPLOAD_BYTES);
    const contentType = contentTypeFor(key, file.contentType);
    const mtime = file.mtime === undefined ? {} : { mtime: parseMtime(file.mtime) };
    const meta = file.meta === undefined ? {} : { meta: validMeta(file.meta) };
    const chosen = tracker.state.classFor(domain, key, file.class);
    const what = { domain, key, class: chosen, sha256: file.sha256 };
    const stored = await storeBytes(tracker, { ...what, bytes, requestId: request.id });
    const { fid, size, sha256, devices } = stored;
    const upload: Upload = {
      ...what,
      fid,
      size,
      sha256,
      contentType,
      devices,
      ...mtime,
      ...meta,
      ...conditionOf(file),
    };
    if (file.past) return await keepOrDiscard(tracker, upload, stored);
    const how = {
      idempotency: undefined,
      answer: ([one]: Committed[]) => ({ status: 200, body: one?.entry }),
    };
    return (await nameUploads(tracker, domain, [upload], [stored], how)).body as FileEntry;
  } catch (error) {
    const problem = error instanceof Problem ? error : new Problem('internal');
    if (problem.problem === 'internal') request.log.error({ err: error }, 'batch: a file was not stored');
    return problem.toJSON();
  }
}

function conditionOf({ ifNoneMatch, ifMatch }: File): { precondition?: Precondition } {
  if (ifMatch !== undefined) return { precondition: { ifMatch: [ifMatch] } };
  return ifNoneMatch === undefined ? {} : { precondition: { ifNoneMatch } };
}
