// What lies in each directory, for whoever keeps a copy of it and wants to know where the two differ.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import type { Tracker } from '../tracker.ts';
import { authorize } from './auth.ts';
import { directoryOf } from './keys.ts';
import { problems } from './openapi.ts';
import { KeyPath, PageQuery, strict } from './schemas.ts';

const Summary = Type.Object(
  {
    key: Type.String({ description: "the directory; '' is the root" }),
    files: Type.Integer(),
    bytes: Type.Integer(),
    digest: Type.String({
      description:
        'SHA-256 of a line for each file, by name in byte order: name/size/mtime in ms/meta.mode, line end',
    }),
  },
  strict,
);

export function summaryRoutes(server: Server, tracker: Tracker): void {
  server.get(
    '/v1/domains/:domain/summaries/*',
    {
      schema: {
        tags: ['directories'],
        summary:
          'Files, bytes and a digest of each directory from here on down; none if there is no such directory',
        params: KeyPath,
        // Each directory is read whole: pages are smaller than those of listings.
        querystring: Type.Object(
          { ...PageQuery, limit: Type.Integer({ minimum: 1, maximum: 200, default: 200 }) },
          strict,
        ),
        response: {
          200: Type.Object({ directories: Type.Array(Summary), next: Type.Optional(Type.String()) }, strict),
          ...problems('invalid-key', 'invalid-cursor', 'domain-not-found'),
        },
      },
    },
    async (request, reply) => {
      const key = directoryOf(request, 'summaries');
      const domain = await tracker.state.domain(request.params.domain);
      await authorize(tracker, request, { scope: 'read', domain, keys: [key === '' ? '' : `${key}/`] });
      reply.header('cache-control', 'private, no-cache');
      return tracker.namespace.summarize(domain, key, request.query);
    },
  );
}
