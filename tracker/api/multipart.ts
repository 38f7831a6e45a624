// Several files in one request: POST multipart/form-data to /v1/domains/{domain}/files/{directory}. Each part goes to
// the devices as it comes; then all of them are named in one transaction.
import multipart, { type MultipartFile } from '@fastify/multipart';
import { Type } from 'typebox';
import { type FastifyRequest, failUnlessAnswered, type Server } from '../../services/http.ts';
import { validateKey } from '../../services/keys.ts';
import { Problem } from '../../services/problems.ts';
import type { DomainState } from '../cluster/state.ts';
import { parsePrecondition } from '../namespace/preconditions.ts';
import type { Answer, Committed, Upload } from '../namespace/types.ts';
import type { Tracker } from '../tracker.ts';
import type { Stored } from '../transfer/placing.ts';
import { discard, storeBody } from '../transfer/upload.ts';
import { authorize } from './auth.ts';
import { contentLength, contentTypeFor, fileFields } from './file-fields.ts';
import { idempotencyOf } from './idempotency.ts';
import { directoryOf } from './keys.ts';
import { nameUploads } from './naming.ts';
import { problems } from './openapi.ts';
import { FileEntry, FormHeaders, KeyPath, strict } from './schemas.ts';

/** Most files in one request; all of them are named in one transaction. */
const MAX_FILES = 1_000;

export function multipartRoutes(server: Server, tracker: Tracker): void {
  server.register(async (scope) => {
    // Anything but a form is answered 415.
    scope.removeAllContentTypeParsers();
    await scope.register(multipart, {
      throwFileSizeLimit: false,
      limits: { files: MAX_FILES, fields: 100, fieldSize: 64 * 1024, fileSize: Number.POSITIVE_INFINITY },
    });
    (scope as unknown as Server).post(
      '/v1/domains/:domain/files/*',
      {
        schema: {
          tags: ['files'],
          summary: 'Store several files, all or none',
          description:
            'multipart/form-data: each part with a file name becomes {directory}/{file name}. The key in the URL is the directory.',
          consumes: ['multipart/form-data'],
          params: KeyPath,
          headers: FormHeaders,
          response: {
            201: Type.Object({ files: Type.Array(FileEntry) }, strict),
            ...problems(
              'invalid-request',
              'invalid-key',
              'truncated-body',
              'domain-not-found',
              'class-not-found',
              'is-a-directory',
              'not-a-directory',
              'precondition-failed',
              'body-too-large',
              'unsupported-media-type',
              'too-few-devices',
              'insufficient-storage',
            ),
          },
        },
      },
      async (request, reply) => {
        const directory = directoryOf(request, 'files');
        const domain = await tracker.state.domain(request.params.domain);
        await authorize(tracker, request, {
          scope: 'write',
          domain,
          keys: [directory === '' ? '' : `${directory}/`],
        });
        const idempotency = idempotencyOf(request);
        const first = await tracker.namespace.firstAnswer(domain, idempotency);
        try {
          const answer = first ?? (await storeAll(tracker, request, domain, directory, idempotency));
          return await reply.code(201).send(answer.body as { files: Committed['entry'][] });
        } catch (error) {
          return failUnlessAnswered(reply, error);
        }
      },
    );
  });
}

async function storeAll(
  tracker: Tracker,
  request: FastifyRequest,
  domain: DomainState,
  directory: string,
  idempotency: ReturnType<typeof idempotencyOf>,
): Promise<Answer> {
  const template = uploadTemplate(request);
  const stored: Stored[] = [];
  const uploads: Upload[] = [];
  const keys = new Set<string>();
  try {
    for await (const part of request.parts()) {
      // A form sends a nameless part for a file field that was left empty.
      if (part.type !== 'file') continue;
      if (!part.filename) {
        part.file.resume();
        continue;
      }
      const key = keyOfPart(directory, part, keys);
      const fileClass = tracker.state.classFor(domain, key, template.class);
      const contentType = contentTypeFor(key, part.mimetype);
      const one = await storeBody(tracker, {
        domain,
        key,
        class: fileClass,
        body: part.file,
        most: contentLength(request),
        requestId: request.id,
      });
      stored.push(one);
      const { fid, size, sha256, devices } = one;
      uploads.push({
        ...template.fields,
        domain,
        key,
        class: fileClass,
        contentType,
        fid,
        size,
        sha256,
        devices,
      });
    }
    if (uploads.length === 0) throw new Problem('invalid-request', 'No part of the form has a file name.');
  } catch (error) {
    request.raw.unpipe();
    await discard(tracker, stored);
    throw formProblem(error);
  }
  const answer = (committed: Committed[]) => ({
    status: 201,
    body: { files: committed.map(({ entry }) => entry) },
  });
  return nameUploads(tracker, domain, uploads, stored, { idempotency, answer });
}

/** What the request's headers say of each of its files. */
function uploadTemplate(request: FastifyRequest) {
  const { class: className, past, ...fields } = fileFields(request);
  if (past) throw new Problem('invalid-request', 'Cistern-Version: past is for PUT and for batches.');
  const precondition = parsePrecondition(request.headers);
  return { class: className, fields: { ...fields, ...(precondition === undefined ? {} : { precondition }) } };
}

function keyOfPart(directory: string, { filename }: MultipartFile, keys: Set<string>): string {
  const key = validateKey(directory === '' ? filename : `${directory}/${filename}`);
  if (keys.has(key)) throw new Problem('invalid-request', `Two parts have the file name '${filename}'.`);
  keys.add(key);
  return key;
}

/** The form parser fails with plain errors when the form is malformed. */
function formProblem(error: unknown): unknown {
  const { name, message } = error as Error;
  if (name !== 'Error' || !/multipart|part header|boundary/i.test(message)) return error;
  return new Problem('invalid-request', `The form is malformed: ${message}.`);
}
