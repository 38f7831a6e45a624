// What tests of files share: short requests, digests, and a look at what is left in the database.
import { createHash } from 'node:crypto';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { buffer } from 'node:stream/consumers';
import pg from 'pg';
import { encodeKey } from '../../services/keys.ts';
import type { Cluster, RequestOptions } from './cluster.ts';

export const pathOfFile = (key: string, domain = 'demo') => `/v1/domains/${domain}/files/${encodeKey(key)}`;

export const sha256 = (bytes: string | Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** A digest field (RFC 9530) of these bytes. */
export const digestField = (bytes: string | Uint8Array) =>
  `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`;

/** Requests for files by key. `cluster` is the function that `useCluster` gave. */
export function filesOf(cluster: () => Cluster) {
  const send =
    (method: string) =>
    (key: string, options: RequestOptions & { query?: string } = {}) =>
      cluster().request(method, pathOfFile(key) + (options.query ?? ''), options);
  const put = (key: string, body: string | Uint8Array, headers: Record<string, string> = {}) =>
    send('PUT')(key, { body, headers });
  return {
    put,
    get: send('GET'),
    head: send('HEAD'),
    remove: send('DELETE'),
    patch: send('PATCH'),
    post: send('POST'),
  };
}

/** The type of a problem answer, without its prefix, and its status. */
export async function problemOf(response: Response): Promise<{ name: string; status: number }> {
  const { type = '' } = (await response.json()) as { type?: string };
  return { name: type.replace('urn:cistern:problem:', ''), status: response.status };
}

/** Runs one statement in the cluster's database. */
export async function sql<Row extends object>(
  cluster: Cluster,
  text: string,
  values: unknown[] = [],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: cluster.database });
  await client.connect();
  try {
    return (await client.query<Row>(text, values)).rows;
  } finally {
    await client.end();
  }
}

/** A request whose body the test writes itself, in its own time. */
export function openRequest(
  cluster: Cluster,
  method: string,
  path: string,
  headers: Record<string, string | number>,
) {
  const request = httpRequest(`${cluster.trackers[0]?.url}${path}`, {
    method,
    agent: false,
    headers: { authorization: `Bearer ${cluster.token}`, ...headers },
  });
  const answer = new Promise<{ status: number; headers: IncomingMessage['headers']; body: Buffer }>(
    (resolve, reject) => {
      request.on('error', reject);
      request.on('response', (response) => {
        buffer(response).then(
          (body) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
          reject,
        );
      });
    },
  );
  answer.catch(() => {});
  return { request, answer };
}
