// Copy and move, of a file or a directory, within a domain.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { validateKey } from '../../services/keys.ts';
import { parsePrecondition } from '../namespace/preconditions.ts';
import type { Entry as EntryJson } from '../namespace/types.ts';
import type { Tracker } from '../tracker.ts';
import { authorize } from './auth.ts';
import { idempotencyOf } from './idempotency.ts';
import { problems } from './openapi.ts';
import { DomainPath, Entry, strict, WriteHeaders } from './schemas.ts';

const Body = Type.Object(
  { from: Type.String(), to: Type.String(), parents: Type.Boolean({ default: true }) },
  strict,
);

export function copyMoveRoutes(server: Server, tracker: Tracker): void {
  const { namespace, state } = tracker;
  for (const verb of ['copy', 'move'] as const) {
    server.post(
      `/v1/domains/:domain/${verb}`,
      {
        schema: {
          tags: ['files', 'directories'],
          summary: `${verb === 'copy' ? 'Copy' : 'Move'} a file or a directory; no bytes are moved`,
          params: DomainPath,
          headers: WriteHeaders,
          body: Body,
          response: {
            200: Entry,
            201: Entry,
            ...problems(
              'invalid-key',
              'domain-not-found',
              'file-not-found',
              'directory-not-found',
              'already-exists',
              'is-a-directory',
              'not-a-directory',
              'move-into-itself',
              'precondition-failed',
              'too-few-devices',
            ),
          },
        },
      },
      async (request, reply) => {
        const domain = await state.domain(request.params.domain);
        const from = validateKey(request.body.from);
        const to = validateKey(request.body.to);
        const { parents } = request.body;
        // A copy only reads its source; whoever may write may read what it copies, as both are one scope's keys.
        await authorize(tracker, request, { scope: 'write', domain, keys: [from, to] });
        const precondition = parsePrecondition(request.headers);
        const relocation = {
          domain,
          from,
          to,
          parents,
          ...(precondition === undefined ? {} : { precondition }),
        };
        const idempotency = idempotencyOf(request, `${from}\0${to}\0${parents}`);
        const answer = await namespace.relocate(verb, relocation, idempotency);
        return reply.code(answer.status as 200 | 201).send(answer.body as EntryJson);
      },
    );
  }
}
