// The OpenAPI document, made from the schemas that validate: at /openapi.json, and as a page at /docs.
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { type TSchema, Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { allProblems, type ProblemName } from '../../services/problems.ts';
import { VERSION } from '../version.ts';

/** Must be called before any route is added: it sees those that are added later. */
export async function describeApi(server: Server): Promise<void> {
  await server.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Cistern',
        version: VERSION,
        description: 'Replicated file storage for multi-server Drupal sites. docs/http-api.md explains it.',
      },
      tags: [
        { name: 'files', description: 'Store and read files' },
        { name: 'directories', description: 'Make, list and remove directories; copy and move' },
        { name: 'trash', description: 'Deleted and replaced versions' },
        { name: 'uploads', description: 'Direct uploads to storage nodes' },
        { name: 'administration', description: 'Domains, classes, tokens, hosts and devices' },
        { name: 'operation', description: 'Status and repair' },
        { name: 'cluster', description: 'What storage nodes call' },
      ],
      components: {
        securitySchemes: {
          token: { type: 'http', scheme: 'bearer', description: 'A token made by POST /v1/tokens' },
          ticket: { type: 'http', scheme: 'bearer', description: "A storage node's own ticket" },
        },
      },
      security: [{ token: [] }],
    },
    // The rest of the path is the key, with its slashes.
    transform: ({ schema, url }) => ({
      schema,
      url: url.replace(/\/files\/\*$/, '/files/:key').replace(/\/(directories|summaries)\/\*$/, '/$1/:path'),
    }),
  });
  await server.register(swaggerUi, { routePrefix: '/docs' });
  server.get('/openapi.json', { schema: { hide: true } }, async () => server.swagger());
}

const statusOf = new Map(allProblems().map(({ name, status }) => [name, status]));

/**
 * Response schemas that document a route's errors by the names of their problems. The return type says nothing, so
 * that they do not take part in the types of what the route itself answers.
 */
export function problems(...names: ProblemName[]): object {
  const byStatus = new Map<number, ProblemName[]>();
  for (const name of [...names, 'not-authenticated', 'not-permitted', 'database-unavailable'] as const) {
    const status = statusOf.get(name) as number;
    byStatus.set(status, [...(byStatus.get(status) ?? []), name]);
  }
  return Object.fromEntries([...byStatus].map(([status, some]) => [status, problemResponse(some)]));
}

function problemResponse(names: ProblemName[]): object {
  const schema: TSchema = Type.Object(
    {
      type: Type.Union(names.map((name) => Type.Literal(`urn:cistern:problem:${name}`))),
      title: Type.String(),
      status: Type.Integer(),
      detail: Type.Optional(Type.String({ description: 'what is wrong, where, and what to do' })),
    },
    { additionalProperties: true },
  );
  return { description: names.join(', '), content: { 'application/problem+json': { schema } } };
}
