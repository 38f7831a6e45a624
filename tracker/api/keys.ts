// Keys as they stand in URLs. They are read from the request line itself: a router decodes too early, and once decoded
// '%2F', '%25' and malformed escapes can no longer be told apart.

import type { FastifyRequest } from '../../services/http.ts';
import { pathOf } from '../../services/http.ts';
import { decodeDirectory, decodeKey } from '../../services/keys.ts';

/** The route of a file. */
export const FILE_URL = '/v1/domains/:domain/files/*';

type Resource = 'files' | 'directories' | 'summaries';

/** The key in `/v1/domains/{domain}/{resource}/{key}`. @throws Problem invalid-key */
export function keyOf(request: FastifyRequest, resource: Resource): string {
  return decodeKey(encodedKey(request, resource));
}

/** Like keyOf for a directory: '' is the root, one trailing slash is allowed. @throws Problem invalid-key */
export function directoryOf(request: FastifyRequest, resource: Resource): string {
  return decodeDirectory(encodedKey(request, resource));
}

function encodedKey(request: FastifyRequest, resource: Resource): string {
  const path = pathOf(request.raw);
  // The domain's name has no slash, so the first occurrence after it is ours.
  const marker = `/${resource}/`;
  const start = path.indexOf(marker, '/v1/domains/'.length);
  return start < 0 ? '' : path.slice(start + marker.length);
}
