// Bad input, continued: what a route does not read is refused or has no effect, and what it says it reads it does.
import { describe, expect, it } from 'vitest';
import { useCluster } from './support/cluster.ts';
import { filesOf, problemOf } from './support/files.ts';

const cluster = useCluster();
const { put, get } = filesOf(cluster);
const demo = '/v1/domains/demo';

describe('a precondition that a route cannot honour', () => {
  const cases: [method: string, path: string, header: string, body?: object][] = [
    ['DELETE', `${demo}/directories/kept?recursive=true`, 'if-match'],
    ['DELETE', `${demo}/directories/kept?recursive=true`, 'if-none-match'],
    ['POST', `${demo}/remove-directories`, 'if-match', { keys: ['kept'] }],
    ['PUT', `${demo}/directories/made`, 'if-match'],
    ['POST', `${demo}/files/made`, 'if-match'],
    ['POST', `${demo}/batch`, 'if-none-match', {}],
    ['DELETE', `${demo}/trash`, 'if-match'],
    ['PUT', `${demo}/files/kept/file`, 'if-unmodified-since'],
    ['DELETE', `${demo}/files/kept/file`, 'if-unmodified-since'],
    ['POST', `${demo}/move`, 'if-unmodified-since', { from: 'kept', to: 'made' }],
  ];
  it.each(cases)('%s %s refuses %s, and does nothing', async (method, path, header, body) => {
    await put('kept/file', 'kept');
    const value = header === 'if-unmodified-since' ? 'Sun, 06 Nov 1994 08:49:37 GMT' : '"another"';
    const send = (token: string) =>
      cluster().request(method, path, { token, headers: { [header]: value }, body: body ?? '' });
    const answer = await send(cluster().token);
    const { detail } = (await answer.clone().json()) as { detail: string };
    expect(await problemOf(answer)).toEqual({ name: 'invalid-request', status: 400 });
    expect(detail).toContain(header);
    expect(await (await get('kept/file')).text()).toBe('kept');
    expect((await cluster().request('GET', `${demo}/directories/made`)).status).toBe(404);
    expect((await send('wrong')).status).toBe(401);
  });
});

it('documents the headers of each write that it reads, and no others', async () => {
  const { paths } = (await (await cluster().request('GET', '/openapi.json')).json()) as {
    paths: Record<string, Record<string, { parameters?: { in: string; name: string }[] }>>;
  };
  const documented = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, { parameters = [] }]) => {
      const names = parameters.filter((one) => one.in === 'header').map(({ name }) => name);
      const wanted = names
        .filter((name) => /^(if-|idempotency)/.test(name))
        .map((name) => name.replace('idempotency-key', 'once'));
      return wanted.length === 0
        ? []
        : [`${method} ${path.replace('/v1/domains/{domain}/', '')}: ${wanted.join(' ')}`];
    }),
  );
  expect(documented.sort()).toEqual([
    'delete directories/{path}: once',
    'delete files/{key}: if-none-match if-match once',
    'patch files/{key}: if-none-match if-match',
    'post copy: if-none-match if-match once',
    'post files/{key}: if-none-match once',
    'post move: if-none-match if-match once',
    'post remove-directories: once',
    'post rewinds: once',
    'post trash/{id}/restore: if-none-match if-match',
    'post uploads/{fid}/commit: if-none-match if-match',
    'put directories/{path}: if-none-match once',
    'put files/{key}: if-none-match if-match once',
  ]);
});

it('a conditional write that is sent twice changes nothing the second time, and is told what is there', async () => {
  const etagOf = (answer: Response) => answer.headers.get('etag') ?? '';
  const old = etagOf(await put('twice/file', 'old'));
  const write = (headers: Record<string, string>, key = 'twice/file') => put(key, 'new', headers);
  const first = await write({ 'if-match': old });
  expect(first.status).toBe(200);
  const created = await write({ 'if-none-match': '*' }, 'twice/created');
  expect(created.status).toBe(201);
  for (const again of [
    await write({ 'if-match': old }),
    await write({ 'if-none-match': '*' }, 'twice/created'),
  ]) {
    expect([again.status, etagOf(again)]).toEqual([412, etagOf(first)]);
  }
  const remove = () => filesOf(cluster).remove('twice/file', { headers: { 'if-match': etagOf(first) } });
  expect((await remove()).status).toBe(204);
  await put('twice/file', 'by another');
  expect((await remove()).status).toBe(412);
  expect(await (await get('twice/file')).text()).toBe('by another');
});
