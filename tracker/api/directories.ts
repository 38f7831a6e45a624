// Directories: make, list, remove, also several at once.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { validateKey } from '../../services/keys.ts';
import { pathOfDirectory } from '../namespace/directories.ts';
import { parsePrecondition } from '../namespace/preconditions.ts';
import { entryOf } from '../namespace/types.ts';
import type { Tracker } from '../tracker.ts';
import { authorize } from './auth.ts';
import { idempotencyOf } from './idempotency.ts';
import { directoryOf } from './keys.ts';
import { problems } from './openapi.ts';
import {
  CreateHeaders,
  DirectoryEntry,
  DomainPath,
  Entry,
  IdempotentHeaders,
  KeyPath,
  PageQuery,
  strict,
} from './schemas.ts';

const url = '/v1/domains/:domain/directories/*';
const tags = ['directories'];

export function directoryRoutes(server: Server, tracker: Tracker): void {
  const { namespace, state } = tracker;

  server.put(
    url,
    {
      schema: {
        tags,
        summary: 'Make a directory, with its parents',
        params: KeyPath,
        headers: CreateHeaders,
        querystring: Type.Object({ parents: Type.Boolean({ default: true }) }, strict),
        response: {
          200: DirectoryEntry,
          201: DirectoryEntry,
          ...problems(
            'invalid-key',
            'domain-not-found',
            'directory-not-found',
            'not-a-directory',
            'precondition-failed',
          ),
        },
      },
    },
    async (request, reply) => {
      const domain = await state.domain(request.params.domain);
      const key = directoryOf(request, 'directories');
      await authorize(tracker, request, { scope: 'write', domain, keys: [pathOfDirectory(key)] });
      const exclusive = parsePrecondition(request.headers)?.ifNoneMatch === '*';
      const { created, entry } = await namespace.makeDirectory(domain, key, {
        parents: request.query.parents,
        exclusive,
        // The query is no part of the path by which a repeat is known.
        idempotency: idempotencyOf(request, `${request.query.parents} ${exclusive}`),
      });
      return reply.code(created ? 201 : 200).send(entry);
    },
  );

  server.get(
    url,
    {
      schema: {
        tags,
        summary: 'List a directory, one level or all below, page by page',
        params: KeyPath,
        querystring: Type.Object({ recursive: Type.Boolean({ default: false }), ...PageQuery }, strict),
        response: {
          200: Type.Object({ entries: Type.Array(Entry), next: Type.Optional(Type.String()) }, strict),
          ...problems(
            'invalid-key',
            'invalid-cursor',
            'domain-not-found',
            'directory-not-found',
            'not-a-directory',
          ),
        },
      },
    },
    async (request, reply) => {
      const domain = await state.domain(request.params.domain);
      const key = directoryOf(request, 'directories');
      await authorize(tracker, request, { scope: 'read', domain, keys: [pathOfDirectory(key)] });
      const { entries, next } = await namespace.list(domain, key, request.query);
      reply.header('cache-control', 'private, no-cache');
      return { entries: entries.map((entry) => entryOf(entry)), ...(next === undefined ? {} : { next }) };
    },
  );

  server.delete(
    url,
    {
      schema: {
        tags,
        summary: 'Remove a directory: an empty one, or with all below as one operation',
        params: KeyPath,
        headers: IdempotentHeaders,
        querystring: Type.Object({ recursive: Type.Boolean({ default: false }) }, strict),
        response: {
          204: Type.Null({ description: 'Gone' }),
          ...problems(
            'invalid-key',
            'domain-not-found',
            'directory-not-found',
            'not-a-directory',
            'directory-not-empty',
          ),
        },
      },
    },
    async (request, reply) => {
      const domain = await state.domain(request.params.domain);
      const key = directoryOf(request, 'directories');
      await authorize(tracker, request, { scope: 'write', domain, keys: [pathOfDirectory(key)] });
      const { recursive } = request.query;
      await namespace.removeDirectory(domain, key, recursive, idempotencyOf(request, `${recursive}`));
      return reply.code(204).send(null);
    },
  );

  server.post(
    '/v1/domains/:domain/remove-directories',
    {
      schema: {
        tags,
        summary: 'Remove directories with all below, as one operation; those that are missing are fine',
        params: DomainPath,
        headers: IdempotentHeaders,
        body: Type.Object({ keys: Type.Array(Type.String(), { minItems: 1, maxItems: 100 }) }, strict),
        response: {
          204: Type.Null({ description: 'Gone' }),
          ...problems('invalid-key', 'domain-not-found', 'not-a-directory'),
        },
      },
    },
    async (request, reply) => {
      const domain = await state.domain(request.params.domain);
      const keys = request.body.keys.map((key) => validateKey(key));
      await authorize(tracker, request, { scope: 'write', domain, keys: keys.map(pathOfDirectory) });
      await namespace.removeDirectories(domain, keys, idempotencyOf(request, keys.join('\0')));
      return reply.code(204).send(null);
    },
  );
}
