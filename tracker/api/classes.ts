// A domain's classes: list, make or change, delete. Scope admin.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { NAME_PATTERN } from '../../services/keys.ts';
import { putClass, removeClass } from '../cluster/classes.ts';
import type { ClassState } from '../cluster/state.ts';
import { demandFullScan } from '../replication/scan.ts';
import type { Tracker } from '../tracker.ts';
import { authorize } from './auth.ts';
import { problems } from './openapi.ts';

const strict = { additionalProperties: false };
const fields = {
  copies: Type.Integer({ minimum: 1, maximum: 16, description: 'hosts that shall hold each file' }),
  minCopies: Type.Integer({
    minimum: 1,
    maximum: 16,
    description: 'hosts that must hold it before an upload is acknowledged',
  }),
  spread: Type.Union([Type.Literal('host'), Type.Literal('zone')], {
    description: 'what copies are spread over: different hosts, or zones where there are enough of them',
  }),
  prefixes: Type.Array(Type.String({ minLength: 1, maxLength: 1024 }), {
    maxItems: 64,
    uniqueItems: true,
    description: 'beginnings of keys that it is chosen for; the longest that fits wins',
  }),
  trash: Type.Boolean({ description: 'whether deleted and replaced versions go to the trash' }),
};
const Class = Type.Object({ name: Type.String(), ...fields }, strict);
const Change = Type.Partial(Type.Object(fields), {
  ...strict,
  description: 'what is not named stays; in a new class it is 2, 2, host, none and true',
});
const DomainPath = Type.Object({ domain: Type.String() }, strict);
const ClassPath = Type.Object(
  { domain: Type.String(), class: Type.String({ pattern: NAME_PATTERN }) },
  strict,
);
const tags = ['administration'];

export function classRoutes(server: Server, tracker: Tracker): void {
  const { state, db } = tracker;

  server.get(
    '/v1/domains/:domain/classes',
    {
      schema: {
        tags,
        summary: "List a domain's classes",
        params: DomainPath,
        response: {
          200: Type.Object({ classes: Type.Array(Class) }, strict),
          ...problems('domain-not-found'),
        },
      },
    },
    async (request) => {
      await state.refresh();
      const domain = await state.domain(request.params.domain);
      await authorize(tracker, request, { scope: 'admin', domain });
      return { classes: domain.classes.map(shown) };
    },
  );

  server.put(
    '/v1/domains/:domain/classes/:class',
    {
      schema: {
        tags,
        summary: 'Make or change a class. Files that it is for are looked at again in the background',
        params: ClassPath,
        body: Change,
        response: {
          200: Class,
          201: Class,
          ...problems('invalid-request', 'domain-not-found', 'already-exists'),
        },
      },
    },
    async (request, reply) => {
      const domain = await state.domain(request.params.domain);
      await authorize(tracker, request, { scope: 'admin', domain });
      const created = await putClass(db, domain, request.params.class, request.body);
      // What its files want may have changed.
      if (!created) await demandFullScan(db);
      await state.refresh();
      const now = await state.domain(domain.name);
      reply.code(created ? 201 : 200);
      return shown(state.classFor(now, '', request.params.class));
    },
  );

  server.delete(
    '/v1/domains/:domain/classes/:class',
    {
      schema: {
        tags,
        summary: "Delete a class that no file and no version in the trash is of. 'default' stays",
        params: ClassPath,
        response: {
          204: Type.Null({ description: 'Gone' }),
          ...problems('domain-not-found', 'class-not-found', 'state-conflict'),
        },
      },
    },
    async (request, reply) => {
      const domain = await state.domain(request.params.domain);
      await authorize(tracker, request, { scope: 'admin', domain });
      await removeClass(db, domain, request.params.class);
      await state.refresh();
      return reply.code(204).send(null);
    },
  );
}

function shown({ name, copies, minCopies, spread, prefixes, trash }: ClassState) {
  return { name, copies, minCopies, spread, prefixes, trash };
}
