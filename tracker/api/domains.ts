// Domains: list, make, change, delete. Scope admin; a token of one domain sees and changes that one only.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { NAME_PATTERN } from '../../services/keys.ts';
import { createDomain, dropDomain, setEnvironment, setTrashDays } from '../cluster/domains.ts';
import type { DomainState } from '../cluster/state.ts';
import { cloneDomain } from '../namespace/clone.ts';
import type { Tracker } from '../tracker.ts';
import { authorize } from './auth.ts';
import { problems } from './openapi.ts';

const strict = { additionalProperties: false };
const TrashDays = Type.Integer({
  minimum: 0,
  maximum: 36_500,
  description: 'how long deleted and replaced versions are kept; 0: not at all',
});
const Environment = Type.Union([Type.String({ pattern: NAME_PATTERN }), Type.Null()], {
  description: 'the environment that writes it (Cistern-Environment); null: the first that names itself',
});
const Domain = Type.Object(
  {
    name: Type.String(),
    trashDays: TrashDays,
    environment: Environment,
    created: Type.String({ format: 'date-time' }),
  },
  strict,
);
const DomainPath = Type.Object({ domain: Type.String() }, strict);
const tags = ['administration'];

export function domainRoutes(server: Server, tracker: Tracker): void {
  const { state, db } = tracker;
  cloneRoute(server, tracker);

  server.get(
    '/v1/domains',
    {
      schema: {
        tags,
        summary: 'List domains',
        response: { 200: Type.Object({ domains: Type.Array(Domain) }, strict), ...problems() },
      },
    },
    async (request) => {
      await authorize(tracker, request, { scope: 'admin' });
      await state.refresh();
      return { domains: state.domains().map(shown) };
    },
  );

  server.post(
    '/v1/domains',
    {
      schema: {
        tags,
        summary: 'Make a domain, with its class default (2 copies, both before an upload is acknowledged)',
        body: Type.Object(
          { name: Type.String({ pattern: NAME_PATTERN }), trashDays: Type.Optional(TrashDays) },
          strict,
        ),
        response: { 201: Domain, ...problems('invalid-request', 'already-exists') },
      },
    },
    async (request, reply) => {
      await authorize(tracker, request, { scope: 'admin' });
      const { name, trashDays = 30 } = request.body;
      await createDomain(db, name, trashDays);
      await state.refresh();
      reply.code(201).header('location', `/v1/domains/${name}`);
      return shown(await state.domain(name));
    },
  );

  server.get(
    '/v1/domains/:domain',
    {
      schema: {
        tags,
        summary: 'Show a domain',
        params: DomainPath,
        response: { 200: Domain, ...problems('domain-not-found') },
      },
    },
    async (request) => {
      const domain = await state.domain(request.params.domain);
      await authorize(tracker, request, { scope: 'admin', domain });
      return shown(domain);
    },
  );

  server.patch(
    '/v1/domains/:domain',
    {
      schema: {
        tags,
        summary: 'Change a domain',
        params: DomainPath,
        body: Type.Object(
          { trashDays: Type.Optional(TrashDays), environment: Type.Optional(Environment) },
          strict,
        ),
        response: { 200: Domain, ...problems('invalid-request', 'domain-not-found') },
      },
    },
    async (request) => {
      const domain = await state.domain(request.params.domain);
      await authorize(tracker, request, { scope: 'admin', domain });
      const { trashDays, environment } = request.body;
      if (trashDays !== undefined) await setTrashDays(db, domain, trashDays);
      if (environment !== undefined) await setEnvironment(db, domain, environment);
      await state.refresh();
      return shown(await state.domain(domain.name));
    },
  );

  server.delete(
    '/v1/domains/:domain',
    {
      schema: {
        tags,
        summary: 'Delete a domain: an empty one, or with all it holds, its trash and its tokens',
        params: DomainPath,
        querystring: Type.Object({ recursive: Type.Boolean({ default: false }) }, strict),
        response: {
          204: Type.Null({ description: 'Gone. Its bytes are removed in the background' }),
          ...problems('domain-not-found', 'directory-not-empty'),
        },
      },
    },
    async (request, reply) => {
      const domain = await state.domain(request.params.domain);
      // A domain is not its own token's to delete: that would take the token's ground away.
      await authorize(tracker, request, { scope: 'admin' });
      await dropDomain(db, domain, request.query.recursive);
      tracker.tokens.forget();
      await state.refresh();
      return reply.code(204).send(null);
    },
  );
}

function cloneRoute(server: Server, tracker: Tracker): void {
  const { state, db } = tracker;
  server.post(
    '/v1/domains/:domain/clone',
    {
      schema: {
        tags,
        summary:
          'Make another domain with all directories, files and classes of this one; no bytes are copied',
        params: DomainPath,
        body: Type.Object(
          { name: Type.String({ pattern: NAME_PATTERN }), trashDays: Type.Optional(TrashDays) },
          strict,
        ),
        response: {
          201: Type.Object(
            { ...Domain.properties, files: Type.Integer(), directories: Type.Integer() },
            strict,
          ),
          ...problems('invalid-request', 'domain-not-found', 'already-exists'),
        },
      },
    },
    async (request, reply) => {
      const source = await state.domain(request.params.domain);
      await authorize(tracker, request, { scope: 'admin' });
      const { name, trashDays = source.trashDays } = request.body;
      const cloned = await cloneDomain(db, source, name, trashDays);
      await state.refresh();
      reply.code(201).header('location', `/v1/domains/${name}`);
      return { ...shown(await state.domain(name)), ...cloned };
    },
  );
}

function shown({ name, trashDays, environment, created }: DomainState) {
  return { name, trashDays, environment, created: created.toISOString() };
}
