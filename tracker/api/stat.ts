// Look-ups of many keys in one request.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { validateKey } from '../../services/keys.ts';
import { entryOf } from '../namespace/types.ts';
import type { Tracker } from '../tracker.ts';
import { authorize } from './auth.ts';
import { problems } from './openapi.ts';
import { DomainPath, Entry, strict } from './schemas.ts';

export function statRoutes(server: Server, tracker: Tracker): void {
  const { namespace, state } = tracker;
  server.post(
    '/v1/domains/:domain/stat',
    {
      // 1,000 keys of 1,024 bytes, and what JSON makes of them.
      bodyLimit: 8 * 1024 * 1024,
      schema: {
        tags: ['files', 'directories'],
        summary: 'Look up to 1,000 keys up; null for those that name nothing',
        params: DomainPath,
        body: Type.Object({ keys: Type.Array(Type.String(), { minItems: 1, maxItems: 1000 }) }, strict),
        response: {
          200: Type.Object({ entries: Type.Array(Type.Union([Entry, Type.Null()])) }, strict),
          ...problems('invalid-key', 'domain-not-found'),
        },
      },
    },
    async (request, reply) => {
      const domain = await state.domain(request.params.domain);
      const keys = request.body.keys.map(validateKey);
      await authorize(tracker, request, { scope: 'read', domain, keys });
      // A single one shares a statement with those of other requests.
      const found =
        keys.length === 1
          ? [await namespace.find(domain, keys[0] as string)]
          : await namespace.findMany(domain, keys);
      reply.header('cache-control', 'private, no-cache');
      return { entries: found.map((each) => (each === undefined ? null : entryOf(each))) };
    },
  );
}
