// Directories over HTTP: what repeats of a request do. What directories are is tested beside the namespace.
import { expect, it } from 'vitest';
import { useCluster } from './support/cluster.ts';
import { filesOf, problemOf } from './support/files.ts';

const cluster = useCluster();
const { put, get } = filesOf(cluster);
const directory = (method: string, path: string, headers: Record<string, string>) =>
  cluster().request(method, `/v1/domains/demo/directories/${path}`, { headers });

it('makes and removes a directory once for requests that are repeated', async () => {
  const make = { 'idempotency-key': 'make-once', 'if-none-match': '*' };
  expect((await directory('PUT', 'once', make)).status).toBe(201);
  expect((await directory('PUT', 'once', make)).status).toBe(201);
  const otherwise = await directory('PUT', 'once?parents=false', make);
  expect(await problemOf(otherwise)).toEqual({ name: 'state-conflict', status: 409 });
  const remove = { 'idempotency-key': 'remove-once' };
  expect((await directory('DELETE', 'once?recursive=true', remove)).status).toBe(204);
  await put('once/by-another', 'kept');
  expect((await directory('DELETE', 'once?recursive=true', remove)).status).toBe(204);
  expect(await (await get('once/by-another')).text()).toBe('kept');
});
