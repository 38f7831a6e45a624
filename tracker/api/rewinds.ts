// Rewinds: a domain's names as they were at a time. Scope admin, since it is about all of the domain's files.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { Problem } from '../../services/problems.ts';
import type { RewindAnswer, RewindWish } from '../namespace/rewind.ts';
import type { Tracker } from '../tracker.ts';
import { authorize } from './auth.ts';
import { validTime } from './file-fields.ts';
import { idempotencyOf } from './idempotency.ts';
import { problems } from './openapi.ts';
import { DomainPath, IdempotentHeaders, strict } from './schemas.ts';

const Count = (description: string) => Type.Integer({ description });
const Time = Type.String({ format: 'date-time', description: 'with microseconds' });
const counts = {
  removed: Count('files that were not there; their versions go to the trash'),
  restored: Count('files that are there again'),
  replaced: Count('files that hold the version of that time again, or what was kept about it'),
  lost: Count('files that were there and whose bytes are gone; nothing is at their keys'),
  directoriesRemoved: Type.Integer(),
  directoriesRestored: Type.Integer(),
  directoriesMoved: Count('moved back, whatever lies below'),
};
const Change = Type.Object(
  {
    kind: Type.Union([Type.Literal('file'), Type.Literal('directory')]),
    change: Type.Union([
      Type.Literal('remove'),
      Type.Literal('restore'),
      Type.Literal('replace'),
      Type.Literal('lost'),
      Type.Literal('move'),
    ]),
    key: Type.String(),
    to: Type.Optional(Type.String()),
  },
  strict,
);
const tags = ['administration'];

export function rewindRoutes(server: Server, tracker: Tracker): void {
  const { namespace, state } = tracker;

  server.get(
    '/v1/domains/:domain/rewinds',
    {
      schema: {
        tags,
        summary: 'How far back a domain can be rewound, and its last 100 rewinds, newest first',
        params: DomainPath,
        response: {
          200: Type.Object(
            { oldest: Time, rewinds: Type.Array(Type.Object({ at: Time, to: Time, ...counts }, strict)) },
            strict,
          ),
          ...problems('domain-not-found'),
        },
      },
    },
    async (request) => {
      const domain = await state.domain(request.params.domain);
      await authorize(tracker, request, { scope: 'admin', domain });
      return namespace.rewinds(domain);
    },
  );

  server.post(
    '/v1/domains/:domain/rewinds',
    {
      schema: {
        tags,
        summary: 'Make all names of a domain what they were at a time, or before the last rewind',
        params: DomainPath,
        headers: IdempotentHeaders,
        body: Type.Object(
          {
            to: Type.Optional(Type.String({ description: 'RFC 3339' })),
            undo: Type.Optional(
              Type.Boolean({ description: 'to before the last rewind; what was written since goes too' }),
            ),
            dryRun: Type.Boolean({ default: false, description: 'only tell what would change' }),
            limit: Type.Integer({ minimum: 0, maximum: 10_000, default: 1000 }),
          },
          strict,
        ),
        response: {
          200: Type.Object(
            {
              at: Time,
              to: Time,
              ...counts,
              changes: Type.Array(Change, { description: 'up to `limit`: what is lost first, then by key' }),
              truncated: Type.Boolean({ description: 'there are more changes' }),
            },
            strict,
          ),
          ...problems('invalid-request', 'domain-not-found', 'state-conflict', 'domain-busy'),
        },
      },
    },
    async (request) => {
      const domain = await state.domain(request.params.domain);
      await authorize(tracker, request, { scope: 'admin', domain });
      const { to, undo = false, dryRun, limit } = request.body;
      if ((to !== undefined) === undo) {
        throw new Problem('invalid-request', "Say either 'to', a time, or 'undo': true.");
      }
      const wish: RewindWish = { to: to === undefined ? undefined : validTime(to, 'to'), dryRun, limit };
      const idempotency = idempotencyOf(request, JSON.stringify(wish));
      return (await namespace.rewind(domain, wish, idempotency)).body as RewindAnswer;
    },
  );
}
