// The Idempotency-Key header: which request it stands for.
import type { FastifyRequest } from '../../services/http.ts';
import { pathOf } from '../../services/http.ts';
import { Problem } from '../../services/problems.ts';
import type { Idempotency } from '../namespace/types.ts';

/**
 * The request's Idempotency-Key, if it has one, bound to its method, path and `more` (what else makes it this request).
 * @throws Problem invalid-request
 */
export function idempotencyOf(request: FastifyRequest, more = ''): Idempotency | undefined {
  const key = request.headers['idempotency-key'];
  if (key === undefined) return undefined;
  if (typeof key !== 'string' || key.length < 1 || key.length > 128) {
    throw new Problem('invalid-request', 'Idempotency-Key must have 1 to 128 characters.');
  }
  return {
    key,
    request: `${request.method} ${pathOf(request.raw)}${more && `\n${more.replaceAll('\0', '\n')}`}`,
  };
}
