// Downloads by an nginx in front of the tracker: the tracker only says where the bytes are.
import { expect, it } from 'vitest';
import { useCluster } from './support/cluster.ts';
import { filesOf, problemOf, sha256 } from './support/files.ts';

const cluster = useCluster({
  nodes: 2,
  devices: 1,
  env: { tracker: { CISTERN_X_ACCEL_PREFIX: '/internal/nodes/' } },
});
const { put, get, head } = filesOf(cluster);

it('answers with X-Accel-Redirect, and the node sends what the tracker would have sent', async () => {
  await put('a.txt', Buffer.from('0123456789'));
  const answer = await get('a.txt', { query: '?download=b.txt' });
  expect([answer.status, await answer.text()]).toEqual([200, '']);
  const internal = answer.headers.get('x-accel-redirect') ?? '';
  const [, host, path] = /^\/internal\/nodes\/([\w.:]+)(\/.*)$/.exec(internal) ?? [];
  const read = await fetch(`http://${host}${path}`, { headers: { range: 'bytes=3-5' } });
  expect([read.status, await read.text()]).toEqual([206, '345']);
  expect(read.headers.get('etag')).toBe(`"${sha256('0123456789')}"`);
  expect(read.headers.get('content-type')).toBe('text/plain');
  expect(read.headers.get('content-disposition')).toBe('attachment; filename=b.txt');
});

it('still decides by itself who may read, and what has not changed', async () => {
  await put('a.txt', Buffer.from('0123456789'));
  expect(await problemOf(await get('a.txt', { token: 'wrong' }))).toEqual({
    name: 'not-authenticated',
    status: 401,
  });
  const known = await get('a.txt', { headers: { 'if-none-match': `"${sha256('0123456789')}"` } });
  expect(known.status).toBe(304);
  expect((await head('a.txt')).headers.get('content-length')).toBe('10');
});
