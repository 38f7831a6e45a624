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

it('removes several directories once for requests that are repeated, and none outside of a token', async () => {
  await put('several/1/x', 'x');
  const remove = (keys: string[], token = cluster().token) =>
    cluster().request('POST', '/v1/domains/demo/remove-directories', {
      token,
      headers: { 'idempotency-key': 'remove-several' },
      body: { keys },
    });
  const narrow = await cluster().makeToken({ prefix: 'several/' });
  expect(await problemOf(await remove(['several/1', 'once'], narrow))).toEqual({
    name: 'not-permitted',
    status: 403,
  });
  expect((await get('several/1/x')).status).toBe(200);
  expect((await remove(['several/1', 'several/2'])).status).toBe(204);
  await put('several/1/x', 'kept');
  expect((await remove(['several/1', 'several/2'])).status).toBe(204);
  expect(await (await get('several/1/x')).text()).toBe('kept');
});

it('copies into a directory that must exist if the request says so', async () => {
  await put('strictly/x', 'x');
  const copy = (to: string, parents: boolean) =>
    cluster().request('POST', '/v1/domains/demo/copy', { body: { from: 'strictly/x', to, parents } });
  expect(await problemOf(await copy('nowhere/x', false))).toEqual({
    name: 'directory-not-found',
    status: 404,
  });
  expect((await copy('nowhere/x', true)).status).toBe(201);
});
