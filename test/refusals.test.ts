// Bad input, continued: what a route does not read is refused or has no effect, and what it says it reads it does.
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { useCluster } from './support/cluster.ts';
import { filesOf, openRequest, problemOf, sql } from './support/files.ts';
import { allOnDisks } from './support/replicas.ts';
import { waitFor } from './support/wait.ts';

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

const post = (
  path: string,
  body: object | string,
  headers: Record<string, string> = {},
  token = cluster().token,
) => cluster().request('POST', path, { body, headers, token });

describe('a cursor that is not of this listing is refused', () => {
  const cursor = (...parts: unknown[]) => Buffer.from(JSON.stringify(parts)).toString('base64url');
  it.each([
    ['directories/?cursor=nonsense'],
    [`directories/?cursor=${cursor('a', 'b', 'c')}`],
    [`directories/?cursor=${Buffer.from('"a"').toString('base64url')}`],
    [`directories/there?recursive=true&cursor=${cursor('elsewhere/', 'x')}`],
    [`directories/?cursor=${cursor('a\0b')}`],
    ['trash?cursor=nonsense'],
    [`trash?cursor=${cursor('not a number')}`],
    [`trash?prefix=a&cursor=${cursor('a')}`],
    ['summaries/?cursor=nonsense'],
  ])('GET %s', async (path) => {
    await put('there/file', 'x');
    const answer = await cluster().request('GET', `${demo}/${path}`);
    expect(await problemOf(answer)).toEqual({ name: 'invalid-cursor', status: 400 });
  });
});

it.each(['.', 'a/.', './a', 'a/./b', '..', 'a/../b'])(
  "the segment '.' or '..' in the key %s",
  async (key) => {
    const answers = [
      await cluster().request('PUT', `${demo}/files/${encodeURIComponent(key)}`, { body: 'x' }),
      await post(`${demo}/copy`, { from: 'there/file', to: key }),
      await post(`${demo}/stat`, { keys: [key] }),
      await post(`${demo}/remove-directories`, { keys: [key] }),
    ];
    // A URL of nothing but dots never gets so far: clients and proxies resolve it.
    for (const answer of /^\.+$/.test(key) ? answers.slice(1) : answers) {
      expect(await problemOf(answer)).toEqual({ name: 'invalid-key', status: 400 });
    }
  },
);

describe('a JSON body', () => {
  const json = { 'content-type': 'application/json' };

  it('that is empty, or larger than 1 MiB, is refused', async () => {
    expect(await problemOf(await post(`${demo}/copy`, '', json))).toEqual({
      name: 'invalid-json',
      status: 400,
    });
    const large = { from: 'x'.repeat(1024 * 1024), to: 'y' };
    expect(await problemOf(await post(`${demo}/copy`, large))).toEqual({
      name: 'body-too-large',
      status: 413,
    });
  });

  it.each([
    ['POST', `${demo}/copy`, { from: 'a', to: 'b' }],
    ['POST', `${demo}/move`, { from: 'a', to: 'b' }],
    ['POST', `${demo}/stat`, { keys: ['a'] }],
    ['POST', `${demo}/remove-directories`, { keys: ['a'] }],
    ['POST', `${demo}/uploads`, { key: 'a', size: 1 }],
    ['POST', `${demo}/trash/1/restore`, {}],
    ['POST', `${demo}/rewinds`, { undo: true }],
    ['PATCH', `${demo}/files/a`, {}],
    ['PUT', `${demo}/classes/other`, { copies: 2 }],
    ['POST', '/v1/domains', { name: 'other' }],
    ['POST', '/v1/tokens', { name: 'other', scopes: ['read'] }],
    ['PATCH', '/v1/repair', { bytesPerSecond: 1_000_000 }],
  ])('of %s %s with a field that nobody knows is refused', async (method, path, body) => {
    const token = cluster().adminToken;
    const answer = await cluster().request(method, path, { token, body: { ...body, surprise: 1 } });
    expect(((await answer.clone().json()) as { detail: string }).detail).toContain("'surprise'");
    expect(await problemOf(answer)).toEqual({ name: 'invalid-request', status: 400 });
  });

  it('takes no unknown field on any route, by its schema', async () => {
    interface Schema {
      type?: string;
      properties?: Record<string, Schema>;
      items?: Schema;
      anyOf?: Schema[];
      additionalProperties?: boolean;
    }
    type Operation = { requestBody?: { content: Record<string, { schema: Schema }> } };
    const { paths } = (await (await cluster().request('GET', '/openapi.json')).json()) as {
      paths: Record<string, Record<string, Operation>>;
    };
    const open: string[] = [];
    let bodies = 0;
    const look = (schema: Schema, at: string): void => {
      if (schema.type === 'object' && schema.additionalProperties !== false) open.push(at);
      for (const [name, one] of Object.entries(schema.properties ?? {})) look(one, `${at}.${name}`);
      for (const one of [...(schema.anyOf ?? []), ...(schema.items ? [schema.items] : [])]) look(one, at);
    };
    for (const [path, methods] of Object.entries(paths)) {
      for (const [method, { requestBody }] of Object.entries(methods)) {
        const schema = requestBody?.content['application/json']?.schema;
        if (schema === undefined || path.startsWith('/v1/cluster/')) continue;
        bodies++;
        look(schema, `${method} ${path}`);
      }
    }
    expect(bodies).toBeGreaterThan(15);
    // The client's own object.
    expect(open.filter((at) => !at.endsWith('.meta'))).toEqual([]);
  });
});

it('looks 1,000 keys up, in their order, with null for those that name nothing; and not one more', async () => {
  await put('many/1', 'x');
  await put('many/999', 'y');
  const keys = Array.from({ length: 1000 }, (_, i) => `many/${999 - i}`);
  const answer = await post(`${demo}/stat`, { keys });
  const { entries } = (await answer.json()) as { entries: ({ key: string } | null)[] };
  const expected = keys.map((key) => (key === 'many/1' || key === 'many/999' ? key : null));
  expect(entries.map((entry) => entry?.key ?? null)).toEqual(expected);
  const more = await post(`${demo}/stat`, { keys: [...keys, 'many'] });
  expect(await problemOf(more)).toEqual({ name: 'invalid-request', status: 400 });
});

describe('a form', () => {
  const part = (name: string, body: string) =>
    `--x\r\nContent-Disposition: form-data; name="f"; filename="${name}"\r\n\r\n${body}`;
  const headers = { 'content-type': 'multipart/form-data; boundary=x' };
  const live = async () => (await sql(cluster(), `SELECT fid FROM blobs WHERE state = 'live'`)).length;
  const clean = (files: string[]) =>
    waitFor(async () => (await allOnDisks(cluster())).length === files.length, {
      what: 'the disks to be clean again',
    });

  it('of more files than are allowed stores none', async () => {
    const [files, blobs] = [await allOnDisks(cluster()), await live()];
    const parts = Array.from({ length: 1001 }, (_, i) => part(`${i}`, `${i}`));
    const answer = await post(`${demo}/files/too-many`, `${parts.join('\r\n')}\r\n--x--\r\n`, headers);
    expect(await problemOf(answer)).toEqual({ name: 'body-too-large', status: 413 });
    await clean(files);
    expect(await live()).toBe(blobs);
  });

  it('whose client hangs up in its middle leaves nothing on the disks', async () => {
    const [files, blobs] = [await allOnDisks(cluster()), await live()];
    const { request, answer } = openRequest(cluster(), 'POST', `${demo}/files/hung-up`, headers);
    const large = randomBytes(600_000).toString('hex');
    request.write(`${part('small', 'x')}\r\n${part('large', large)}\r\n${part('unfinished', large)}`);
    // Two files are stored, each twice; the third is on its way.
    await waitFor(async () => (await allOnDisks(cluster())).length >= files.length + 4, {
      what: 'two files to be stored',
    });
    request.destroy();
    await expect(answer).rejects.toThrow();
    await clean(files);
    expect(await live()).toBe(blobs);
    expect((await cluster().request('GET', `${demo}/directories/hung-up`)).status).toBe(404);
  });
});
