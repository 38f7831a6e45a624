// The header Idempotency-Key: a repeat of a request whose answer was lost gets the first answer.
import { hash } from 'node:crypto';
import { type FastifyRequest, pathOf } from '../../services/http.ts';
import { Problem } from '../../services/problems.ts';
import type { Idempotency } from '../namespace/types.ts';

/**
 * The Idempotency-Key of a request, with what must be the same in a repeat: the method, the path, and `more` (what a
 * JSON body says, for instance).
 * @throws Problem invalid-request
 */
export function idempotencyOf(request: FastifyRequest, more = ''): Idempotency | undefined {
  const key = request.headers['idempotency-key']?.toString();
  if (key === undefined) return undefined;
  if (!/^[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?$/.test(key)) {
    throw new Problem('invalid-request', 'Idempotency-Key must have 1 to 128 printable ASCII characters.');
  }
  // Hashed, since `more` may be long, and may hold what a text in PostgreSQL cannot.
  const digest = more === '' ? '' : ` ${hash('sha256', more, 'hex')}`;
  return { key, request: `${request.method} ${pathOf(request.raw)}${digest}` };
}
