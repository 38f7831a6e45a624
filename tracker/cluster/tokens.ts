// Bearer tokens: what each permits. The database holds only their hashes; what it said is remembered for a moment.
import { hash, randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Queryable, Statement } from '../database/database.ts';

export type Scope = 'read' | 'write' | 'admin';

/** What a token permits. */
export interface TokenGrant {
  scopes: readonly Scope[];
  /** The only domain it is good for; undefined: all. */
  domain: { id: number; name: string } | undefined;
  /** Every key must begin with it. */
  prefix: string;
  /** It may be redirected to storage nodes. */
  redirect: boolean;
  /** Milliseconds, by the database's clock. */
  expires: number | undefined;
}

const findToken: Statement = {
  name: 'find-token',
  text: `SELECT t.scopes, t.prefix, t.redirect, extract(epoch FROM t.expires)::float8 * 1000 AS expires,
      d.id AS "domainId", d.name AS "domainName"
    FROM tokens t LEFT JOIN domains d ON d.id = t.domain_id
    WHERE t.hash = $1 AND (t.domain_id IS NULL OR d.dropped IS NULL)`,
};

interface Row {
  scopes: Scope[];
  prefix: string;
  redirect: boolean;
  expires: number | null;
  domainId: number | null;
  domainName: string | null;
}

/** A new secret, and the hash to store in its place. */
export function newToken(): { token: string; hash: Buffer } {
  const token = `cistern_${randomBytes(32).toString('base64url')}`;
  return { token, hash: Buffer.from(hashOf(token), 'hex') };
}

/** Finds what a token permits. A token is remembered for `rememberMs`, so revoking it takes effect by then. */
export class Tokens {
  readonly #db: Queryable;
  readonly #adminHashes: string[];
  readonly #grants: LRUCache<string, TokenGrant>;
  #generation = 0;

  /** @param adminTokens that are always good: the present one, and the former while it is rotated out */
  constructor(db: Queryable, adminTokens: string[], rememberMs: number) {
    this.#db = db;
    this.#adminHashes = adminTokens.map(hashOf);
    const ttl = Math.max(1, Math.round(rememberMs));
    this.#grants = new LRUCache({ max: 10_000, ttl, noDeleteOnStaleGet: true });
  }

  /**
   * The grant of a token, at once if it is remembered; undefined if there is no such token. Expiry is the caller's to
   * check. Secrets are compared by their SHA-256, so the time that takes tells nothing about them.
   * @throws Problem database-unavailable
   */
  find(token: string): TokenGrant | Promise<TokenGrant | undefined> {
    const key = hashOf(token);
    if (this.#adminHashes.includes(key)) return adminGrant;
    return this.#grants.get(key) ?? this.#load(key);
  }

  /** What a token permitted when it was last looked up, however long ago: for reads while the database is away. */
  recall(token: string): TokenGrant | undefined {
    return this.#grants.get(hashOf(token), { allowStale: true });
  }

  /** Forgets what is remembered: a token was revoked just now. */
  forget(): void {
    this.#generation++;
    this.#grants.clear();
  }

  async #load(key: string): Promise<TokenGrant | undefined> {
    const generation = this.#generation;
    const [row] = await this.#db.query<Row>(findToken, [Buffer.from(key, 'hex')]);
    if (row === undefined) {
      this.#grants.delete(key);
      return undefined;
    }
    const { scopes, prefix, redirect, expires, domainId, domainName } = row;
    const domain = domainId === null ? undefined : { id: domainId, name: domainName as string };
    const grant: TokenGrant = { scopes, domain, prefix, redirect, expires: expires ?? undefined };
    // What was read before a token was revoked must not outlive the revocation.
    if (generation === this.#generation) this.#grants.set(key, grant);
    return grant;
  }
}

const adminGrant: TokenGrant = {
  scopes: ['admin'],
  domain: undefined,
  prefix: '',
  redirect: true,
  expires: undefined,
};

function hashOf(token: string): string {
  return hash('sha256', token, 'hex');
}
