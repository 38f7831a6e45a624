// Bearer tokens: list, make, revoke. Scope admin, of all domains. The secret is shown once and stored only as a hash.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { Problem } from '../../services/problems.ts';
import { newToken, type Scope } from '../cluster/tokens.ts';
import type { Statement } from '../database/database.ts';
import type { Tracker } from '../tracker.ts';
import { authorize } from './auth.ts';
import { problems } from './openapi.ts';

const strict = { additionalProperties: false };
const Scopes = Type.Array(Type.Union([Type.Literal('read'), Type.Literal('write'), Type.Literal('admin')]), {
  minItems: 1,
  uniqueItems: true,
  description: 'admin includes read and write',
});
const DateTime = Type.String({ format: 'date-time' });
const fields = {
  id: Type.Integer(),
  name: Type.String(),
  scopes: Scopes,
  domain: Type.Union([Type.String(), Type.Null()], { description: 'null: good for all domains' }),
  prefix: Type.String(),
  redirect: Type.Boolean(),
  expires: Type.Union([DateTime, Type.Null()], { description: 'null: never' }),
  created: DateTime,
};
const Token = Type.Object(fields, strict);
const NewToken = Type.Object({ ...fields, token: Type.String({ description: 'the secret' }) }, strict);
const Wanted = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 200, description: 'for people, to know it by' }),
    scopes: Scopes,
    domain: Type.Optional(Type.String({ description: 'the only domain it is good for' })),
    prefix: Type.Optional(Type.String({ maxLength: 1024, description: 'what every key must begin with' })),
    redirect: Type.Optional(Type.Boolean({ description: 'whether it may be redirected to storage nodes' })),
    expires: Type.Optional(DateTime),
  },
  strict,
);

const columns = `t.id, t.name, t.scopes, d.name AS domain, t.prefix, t.redirect, t.expires, t.created`;
const listTokens: Statement = {
  name: 'list-tokens',
  text: `SELECT ${columns} FROM tokens t LEFT JOIN domains d ON d.id = t.domain_id ORDER BY t.id`,
};
const insertToken: Statement = {
  name: 'insert-token',
  text: `WITH t AS (
      INSERT INTO tokens (name, hash, scopes, domain_id, prefix, redirect, expires)
      VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *
    ) SELECT ${columns} FROM t LEFT JOIN domains d ON d.id = t.domain_id`,
};
const deleteToken: Statement = { name: 'delete-token', text: 'DELETE FROM tokens WHERE id = $1' };

interface Row {
  id: number;
  name: string;
  scopes: Scope[];
  domain: string | null;
  prefix: string;
  redirect: boolean;
  expires: Date | null;
  created: Date;
}

export function tokenRoutes(server: Server, tracker: Tracker): void {
  const { db, state, tokens } = tracker;
  const tags = ['administration'];

  server.get(
    '/v1/tokens',
    {
      schema: {
        tags,
        summary: 'List tokens, without their secrets',
        response: { 200: Type.Object({ tokens: Type.Array(Token) }, strict), ...problems() },
      },
    },
    async (request) => {
      await authorize(tracker, request, { scope: 'admin' });
      return { tokens: (await db.query<Row>(listTokens)).map(shown) };
    },
  );

  server.post(
    '/v1/tokens',
    {
      schema: {
        tags,
        summary: 'Make a token',
        body: Wanted,
        response: {
          201: NewToken,
          ...problems('invalid-request', 'domain-not-found'),
        },
      },
    },
    async (request, reply) => {
      await authorize(tracker, request, { scope: 'admin' });
      const { name, scopes, domain, prefix = '', redirect = false, expires } = request.body;
      if (prefix !== '' && scopes.includes('admin')) {
        throw new Problem('invalid-request', 'A token with scope admin cannot be held to a prefix.');
      }
      const domainId = domain === undefined ? null : (await state.domain(domain)).id;
      const { token, hash } = newToken();
      const values = [name, hash, scopes, domainId, prefix, redirect, expires ?? null];
      const [row] = await db.query<Row>(insertToken, values);
      reply.code(201).header('cache-control', 'no-store');
      return { ...shown(row as Row), token };
    },
  );

  server.delete(
    '/v1/tokens/:id',
    {
      schema: {
        tags,
        summary: 'Revoke a token: refused here at once, by other trackers within CISTERN_STATE_SECONDS',
        params: Type.Object({ id: Type.Integer({ minimum: 1, maximum: 2_147_483_647 }) }, strict),
        response: { 204: Type.Null({ description: 'Revoked' }), ...problems('not-found') },
      },
    },
    async (request, reply) => {
      await authorize(tracker, request, { scope: 'admin' });
      const { id } = request.params;
      const revoked = await db.count(deleteToken, [id]);
      tokens.forget();
      if (revoked === 0) throw new Problem('not-found', `There is no token ${id}.`);
      return reply.code(204).send(null);
    },
  );
}

function shown({ expires, created, ...rest }: Row) {
  return { ...rest, expires: expires?.toISOString() ?? null, created: created.toISOString() };
}
