// Who may do what. Every request below /v1/ is authenticated before its route sees it, and a token of one domain gets
// the same 403 for every other, whether it exists or not. Routes then ask for the scope and the keys they need.

import type { FastifyRequest, Server } from '../../services/http.ts';
import { NAME_PATTERN } from '../../services/keys.ts';
import { Problem } from '../../services/problems.ts';
import { claimEnvironment } from '../cluster/domains.ts';
import type { DomainState } from '../cluster/state.ts';
import type { Scope, TokenGrant } from '../cluster/tokens.ts';
import { isUnavailable } from '../database/database.ts';
import type { Tracker } from '../tracker.ts';
import { FILE_URL } from './keys.ts';

declare module 'fastify' {
  interface FastifyRequest {
    grant: TokenGrant | undefined;
  }
}

/** Authenticates all requests below /v1/ but those of storage nodes, which bring tickets. 401, 403. */
export function requireTokens(server: Server, tracker: Tracker): void {
  server.decorateRequest('grant', undefined);
  server.addHook('onRequest', (request, _reply, done) => {
    const route = request.routeOptions.url;
    if (route === undefined || !route.startsWith('/v1/') || route.startsWith('/v1/cluster/')) return done();
    const admit = (grant: TokenGrant | undefined) => {
      const problem = refusal(tracker, request, grant);
      if (problem !== undefined) return done(problem);
      request.grant = grant;
      done();
    };
    const token = bearerToken(request);
    if (token === undefined) return done(unauthenticated('Send the header Authorization: Bearer <token>.'));
    const found = tracker.tokens.find(token);
    if (found instanceof Promise) {
      found.catch((error) => recalled(tracker, request, token, error)).then(admit, done);
    } else admit(found);
  });
}

/** While the database is away, a file may be read by what its token permitted a moment ago; all else is refused. */
async function recalled(
  { tokens, namespace }: Tracker,
  request: FastifyRequest,
  token: string,
  error: unknown,
): Promise<TokenGrant> {
  const reads = request.routeOptions.url === FILE_URL && /^(GET|HEAD)$/.test(request.method);
  const grant = reads && isUnavailable(error) ? tokens.recall(token) : undefined;
  if (grant === undefined || !(await namespace.permitsStaleReads())) throw error;
  return grant;
}

export interface Need {
  scope: Scope;
  /** The domain it is about; without one, the token must not be bound to any. */
  domain?: DomainState;
  /** Keys that are touched; a directory with a trailing slash. A token with a prefix needs them, all below it. */
  keys?: readonly string[];
}

/**
 * Checks that the request's token permits this, and that its environment may write here. Scope admin includes read and
 * write.
 * @throws Problem not-authenticated (401), not-permitted (403), other-environment (409)
 */
export async function authorize(tracker: Tracker, request: FastifyRequest, need: Need): Promise<TokenGrant> {
  const grant = permit(request, need);
  if (need.scope === 'write' && need.domain !== undefined) {
    const environment = request.headers['cistern-environment'];
    if (environment !== undefined) await admitEnvironment(tracker, need.domain, String(environment));
  }
  return grant;
}

/** Lets the environment that a domain is written by go on; the first that names itself becomes it. */
async function admitEnvironment(
  { db, state }: Tracker,
  domain: DomainState,
  environment: string,
): Promise<void> {
  if (domain.environment === environment) return;
  if (!new RegExp(NAME_PATTERN).test(environment)) {
    throw new Problem(
      'invalid-request',
      'Cistern-Environment must be 1 to 63 lower-case letters, digits, dots, hyphens or underscores.',
    );
  }
  // What this tracker knows may be a moment old.
  const recorded = await claimEnvironment(db, domain, environment);
  if (recorded === environment) {
    await state.refresh();
    return;
  }
  throw new Problem(
    'other-environment',
    `The domain '${domain.name}' is written by the environment '${recorded}', and this client is '${environment}', so it may only read. ` +
      `If that is wrong: cistern domain environment ${domain.name} --set ${environment}.`,
  );
}

function permit({ grant }: FastifyRequest, { scope, domain, keys }: Need): TokenGrant {
  if (grant === undefined) throw unauthenticated('A token is required here.');
  if (!grant.scopes.includes(scope) && !grant.scopes.includes('admin')) {
    throw new Problem('not-permitted', `The token lacks the scope '${scope}'.`);
  }
  if (grant.domain !== undefined && grant.domain.id !== domain?.id) {
    if (domain !== undefined) throw otherDomain();
    throw new Problem(
      'not-permitted',
      `The token is for the domain '${grant.domain.name}' only, and this is about all.`,
    );
  }
  if (grant.prefix !== '') {
    if (keys === undefined || !keys.every((key) => key.startsWith(grant.prefix))) {
      throw new Problem('not-permitted', `The token is only for keys that begin with '${grant.prefix}'.`);
    }
  }
  return grant;
}

/** The token of `Authorization: Bearer <token>` (RFC 6750, 2.1); undefined without one. */
export function bearerToken(request: FastifyRequest): string | undefined {
  return /^Bearer +([\w.~+/=-]+) *$/i.exec(request.headers.authorization ?? '')?.[1];
}

function refusal(
  { state }: Tracker,
  request: FastifyRequest,
  grant: TokenGrant | undefined,
): Problem | undefined {
  if (grant === undefined) return unauthenticated('The token is not valid: it is unknown or was revoked.');
  if (grant.expires !== undefined && grant.expires <= state.now()) {
    return unauthenticated('The token has expired.');
  }
  const { domain } = request.params as { domain?: string };
  if (grant.domain !== undefined && domain !== undefined && domain !== grant.domain.name) {
    return otherDomain();
  }
  return undefined;
}

function unauthenticated(detail: string): Problem {
  return new Problem('not-authenticated', detail, {
    headers: { 'www-authenticate': 'Bearer realm="cistern"' },
  });
}

function otherDomain(): Problem {
  return new Problem('not-permitted', 'The token is for another domain.');
}
