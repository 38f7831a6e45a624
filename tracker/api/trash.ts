// The trash: list, restore, give up.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { validateKey } from '../../services/keys.ts';
import { Problem } from '../../services/problems.ts';
import type { DomainState } from '../cluster/state.ts';
import { parsePrecondition } from '../namespace/preconditions.ts';
import type { FileEntry as FileEntryJson } from '../namespace/types.ts';
import type { Tracker } from '../tracker.ts';
import { authorize } from './auth.ts';
import { validTime } from './file-fields.ts';
import { problems } from './openapi.ts';
import { ConditionHeaders, DomainPath, FileEntry, Meta, PageQuery, strict } from './schemas.ts';

const Version = Type.Object(
  {
    id: Type.Integer(),
    key: Type.String(),
    size: Type.Integer({ description: 'bytes' }),
    etag: Type.String(),
    contentType: Type.String(),
    mtime: Type.String({ format: 'date-time' }),
    class: Type.String(),
    meta: Meta,
    fid: Type.Integer(),
    reason: Type.Union([Type.Literal('deleted'), Type.Literal('replaced'), Type.Literal('rewound')]),
    at: Type.String({
      format: 'date-time',
      description: 'when it was deleted, replaced or removed by a rewind',
    }),
  },
  strict,
);
const VersionPath = Type.Object({ domain: Type.String(), id: Type.Integer({ minimum: 1 }) }, strict);
const tags = ['trash'];

export function trashRoutes(server: Server, tracker: Tracker): void {
  const { namespace, state } = tracker;

  server.get(
    '/v1/domains/:domain/trash',
    {
      schema: {
        tags,
        summary: 'List versions: newest first, or, with a prefix, by key and oldest first',
        params: DomainPath,
        querystring: Type.Object(
          { prefix: Type.String({ default: '', maxLength: 1024 }), ...PageQuery },
          strict,
        ),
        response: {
          200: Type.Object({ versions: Type.Array(Version), next: Type.Optional(Type.String()) }, strict),
          ...problems('invalid-cursor', 'domain-not-found'),
        },
      },
    },
    async (request, reply) => {
      const domain = await state.domain(request.params.domain);
      await authorize(tracker, request, { scope: 'read', domain, keys: [request.query.prefix] });
      reply.header('cache-control', 'private, no-cache');
      return namespace.listTrash(domain, request.query);
    },
  );

  server.post(
    '/v1/domains/:domain/trash/:id/restore',
    {
      schema: {
        tags,
        summary: 'Put a version back under its key, or another; what it replaces goes to the trash',
        params: VersionPath,
        headers: ConditionHeaders,
        body: Type.Object({ to: Type.Optional(Type.String()) }, strict),
        response: {
          200: FileEntry,
          201: FileEntry,
          ...problems('invalid-key', 'not-found', 'is-a-directory', 'not-a-directory', 'precondition-failed'),
        },
      },
    },
    async (request, reply) => {
      const domain = await state.domain(request.params.domain);
      const { id } = request.params;
      const to = request.body.to === undefined ? undefined : validateKey(request.body.to);
      const key = await versionKey(domain, id);
      await authorize(tracker, request, {
        scope: 'write',
        domain,
        keys: to === undefined ? [key] : [key, to],
      });
      const precondition = parsePrecondition(request.headers);
      const answer = await namespace.restore(domain, id, {
        ...(to === undefined ? {} : { to }),
        ...(precondition === undefined ? {} : { precondition }),
      });
      return reply.code(answer.status as 200 | 201).send(answer.body as FileEntryJson);
    },
  );

  server.delete(
    '/v1/domains/:domain/trash/:id',
    {
      schema: {
        tags,
        summary: 'Give a version up',
        params: VersionPath,
        response: { 204: Type.Null({ description: 'Gone' }), ...problems('domain-not-found', 'not-found') },
      },
    },
    async (request, reply) => {
      const domain = await state.domain(request.params.domain);
      const { id } = request.params;
      await authorize(tracker, request, { scope: 'write', domain, keys: [await versionKey(domain, id)] });
      await namespace.purgeVersion(domain, id);
      return reply.code(204).send(null);
    },
  );

  server.delete(
    '/v1/domains/:domain/trash',
    {
      schema: {
        tags,
        summary: 'Give up a page of versions, by key: repeat with `cursor` until there is no `next`',
        params: DomainPath,
        querystring: Type.Object(
          {
            prefix: Type.String({ default: '', maxLength: 1024 }),
            before: Type.Optional(
              Type.String({ description: 'only what came into the trash before (RFC 3339)' }),
            ),
            ...PageQuery,
          },
          strict,
        ),
        response: {
          200: Type.Object({ purged: Type.Integer(), next: Type.Optional(Type.String()) }, strict),
          ...problems('invalid-request', 'invalid-cursor', 'domain-not-found'),
        },
      },
    },
    async (request) => {
      const domain = await state.domain(request.params.domain);
      const { before, ...page } = request.query;
      await authorize(tracker, request, { scope: 'write', domain, keys: [page.prefix] });
      const time = before === undefined ? {} : { before: validTime(before, 'before') };
      return namespace.purgeVersions(domain, { ...page, ...time });
    },
  );

  async function versionKey(domain: DomainState, id: number): Promise<string> {
    const key = await namespace.keyOfVersion(domain, id);
    if (key === undefined) throw new Problem('not-found', `There is no version ${id} in the trash.`);
    return key;
  }
}
