// Bad input: each kind gets its problem, with a stable type, and changes nothing.
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { useCluster } from './support/cluster.ts';
import { filesOf, openRequest, pathOfFile, problemOf, sql } from './support/files.ts';

const LIMIT = 1024 * 1024;
const cluster = useCluster({
  env: { tracker: { CISTERN_MAX_UPLOAD_BYTES: String(LIMIT), CISTERN_IDLE_SECONDS: '1' } },
});
const { put, get } = filesOf(cluster);
const files = '/v1/domains/demo/files';
const tokens: Record<string, string> = {};

async function makeToken(name: string, body: object): Promise<void> {
  const made = await cluster().request('POST', '/v1/tokens', {
    token: cluster().adminToken,
    body: { name, ...body },
  });
  tokens[name] = ((await made.json()) as { token: string }).token;
}

/** All that the namespace holds, in one text. */
async function everything(): Promise<string> {
  const rows = await sql(
    cluster(),
    `SELECT (SELECT json_agg(n ORDER BY dir_id, name) FROM names n) AS names,
      (SELECT json_agg(d ORDER BY id) FROM dirs d) AS dirs, (SELECT json_agg(t ORDER BY id) FROM trash t) AS trash,
      (SELECT count(*) FROM blobs WHERE state = 'live') AS live`,
  );
  return JSON.stringify(rows);
}

beforeAll(async () => {
  await put('there/file', 'x');
  await cluster().request('POST', '/v1/domains', { token: cluster().adminToken, body: { name: 'other' } });
  await makeToken('reader', { scopes: ['read'], domain: 'demo' });
  await makeToken('foreign', { scopes: ['read', 'write'], domain: 'other' });
  await makeToken('prefixed', { scopes: ['read', 'write'], domain: 'demo', prefix: 'mine/' });
});

interface Case {
  method: string;
  path: string;
  token?: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array | object;
  problem: [name: string, status: number];
}

const bad: Record<string, Case> = {
  'no token': { method: 'GET', path: `${files}/there/file`, token: '', problem: ['not-authenticated', 401] },
  'a wrong token': {
    method: 'GET',
    path: `${files}/there/file`,
    token: 'wrong',
    problem: ['not-authenticated', 401],
  },
  'a wrong scope': {
    method: 'PUT',
    path: `${files}/a`,
    token: 'reader',
    body: 'x',
    problem: ['not-permitted', 403],
  },
  'a wrong scope to delete': {
    method: 'DELETE',
    path: `${files}/there/file`,
    token: 'reader',
    problem: ['not-permitted', 403],
  },
  'a token of another domain': {
    method: 'PUT',
    path: `${files}/a`,
    token: 'foreign',
    body: 'x',
    problem: ['not-permitted', 403],
  },
  'a domain that the token may not know of': {
    method: 'GET',
    path: '/v1/domains/none/files/a',
    token: 'foreign',
    problem: ['not-permitted', 403],
  },
  'a key beside the prefix': {
    method: 'PUT',
    path: `${files}/yours/a`,
    token: 'prefixed',
    body: 'x',
    problem: ['not-permitted', 403],
  },
  'an unknown domain': {
    method: 'PUT',
    path: '/v1/domains/none/files/a',
    token: 'admin',
    body: 'x',
    problem: ['domain-not-found', 404],
  },
  'an unknown class': {
    method: 'PUT',
    path: `${files}/a`,
    body: 'x',
    headers: { 'cistern-class': 'none' },
    problem: ['class-not-found', 404],
  },
  'an unknown file': { method: 'GET', path: `${files}/none`, problem: ['file-not-found', 404] },
  'an unknown file to change': {
    method: 'PATCH',
    path: `${files}/none`,
    body: {},
    problem: ['file-not-found', 404],
  },
  'an empty key': { method: 'PUT', path: `${files}/`, body: 'x', problem: ['invalid-key', 400] },
  'an empty segment': { method: 'PUT', path: `${files}/a//b`, body: 'x', problem: ['invalid-key', 400] },
  'a trailing slash': { method: 'PUT', path: `${files}/a/`, body: 'x', problem: ['invalid-key', 400] },
  'a NUL': { method: 'PUT', path: `${files}/a%00b`, body: 'x', problem: ['invalid-key', 400] },
  'a dot segment': { method: 'PUT', path: `${files}/a%2F..%2Fb`, body: 'x', problem: ['invalid-key', 400] },
  'invalid UTF-8': { method: 'PUT', path: `${files}/a%ff`, body: 'x', problem: ['invalid-key', 400] },
  'a malformed escape': { method: 'PUT', path: `${files}/a%2`, body: 'x', problem: ['invalid-key', 400] },
  'a key that is too long': {
    method: 'PUT',
    path: `${files}/${'a'.repeat(1_025)}`,
    body: 'x',
    problem: ['invalid-key', 400],
  },
  'a directory to read': { method: 'GET', path: `${files}/there`, problem: ['is-a-directory', 409] },
  'a directory to replace': {
    method: 'PUT',
    path: `${files}/there`,
    body: 'x',
    problem: ['is-a-directory', 409],
  },
  'a directory to delete': { method: 'DELETE', path: `${files}/there`, problem: ['is-a-directory', 409] },
  'a file for a parent': {
    method: 'PUT',
    path: `${files}/there/file/below`,
    body: 'x',
    problem: ['not-a-directory', 409],
  },
  'a range beyond the end': {
    method: 'GET',
    path: `${files}/there/file`,
    headers: { range: 'bytes=1-' },
    problem: ['range-not-satisfiable', 416],
  },
  'an unknown query': {
    method: 'GET',
    path: `${files}/there/file?dowload`,
    problem: ['invalid-request', 400],
  },
  'an unknown way': {
    method: 'GET',
    path: `${files}/there/file?via=mail`,
    problem: ['invalid-request', 400],
  },
  'a malformed digest': {
    method: 'PUT',
    path: `${files}/a`,
    body: 'x',
    headers: { 'repr-digest': 'sha-256=abc' },
    problem: ['invalid-request', 400],
  },
  'a malformed mtime': {
    method: 'PUT',
    path: `${files}/a`,
    body: 'x',
    headers: { 'cistern-mtime': 'yesterday' },
    problem: ['invalid-request', 400],
  },
  'a mtime that cannot be': {
    method: 'PUT',
    path: `${files}/a`,
    body: 'x',
    headers: { 'cistern-mtime': '2020-13-01T00:00:00Z' },
    problem: ['invalid-request', 400],
  },
  'meta that is no JSON': {
    method: 'PUT',
    path: `${files}/a`,
    body: 'x',
    headers: { 'cistern-meta': '{' },
    problem: ['invalid-request', 400],
  },
  'meta that is no object': {
    method: 'PUT',
    path: `${files}/a`,
    body: 'x',
    headers: { 'cistern-meta': '[1]' },
    problem: ['invalid-request', 400],
  },
  'meta with a NUL': {
    method: 'PUT',
    path: `${files}/a`,
    body: 'x',
    headers: { 'cistern-meta': '{"a":"\\u0000"}' },
    problem: ['invalid-request', 400],
  },
  'meta with half a character': {
    method: 'PUT',
    path: `${files}/a`,
    body: 'x',
    headers: { 'cistern-meta': '{"\\ud800":1}' },
    problem: ['invalid-request', 400],
  },
  'meta that is too long': {
    method: 'PUT',
    path: `${files}/a`,
    body: 'x',
    headers: { 'cistern-meta': `{"a":"${'x'.repeat(2_048)}"}` },
    problem: ['invalid-request', 400],
  },
  'an If-None-Match with a tag': {
    method: 'PUT',
    path: `${files}/a`,
    body: 'x',
    headers: { 'if-none-match': '"x"' },
    problem: ['invalid-request', 400],
  },
  'an If-Match of nothing': {
    method: 'PUT',
    path: `${files}/a`,
    body: 'x',
    headers: { 'if-match': '*' },
    problem: ['precondition-failed', 412],
  },
  'an Idempotency-Key that is too long': {
    method: 'PUT',
    path: `${files}/a`,
    body: 'x',
    headers: { 'idempotency-key': 'x'.repeat(129) },
    problem: ['invalid-request', 400],
  },
  'malformed JSON': {
    method: 'PATCH',
    path: `${files}/there/file`,
    body: '{',
    headers: { 'content-type': 'application/json' },
    problem: ['invalid-json', 400],
  },
  'an unknown field': {
    method: 'PATCH',
    path: `${files}/there/file`,
    body: { size: 1 },
    problem: ['invalid-request', 400],
  },
  'a content type that is none': {
    method: 'PATCH',
    path: `${files}/there/file`,
    body: { contentType: 'a\r\nb: c' },
    problem: ['invalid-request', 400],
  },
  'a body over the limit': {
    method: 'PUT',
    path: `${files}/a`,
    body: randomBytes(LIMIT + 1),
    problem: ['body-too-large', 413],
  },
  'a direct upload over the limit': {
    method: 'POST',
    path: '/v1/domains/demo/uploads',
    body: { key: 'a', size: LIMIT + 1 },
    problem: ['body-too-large', 413],
  },
  'a direct upload of less than nothing': {
    method: 'POST',
    path: '/v1/domains/demo/uploads',
    body: { key: 'a', size: -1 },
    problem: ['invalid-request', 400],
  },
  'a direct upload to a bad key': {
    method: 'POST',
    path: '/v1/domains/demo/uploads',
    body: { key: '../a', size: 1 },
    problem: ['invalid-key', 400],
  },
  'a direct upload beside the prefix': {
    method: 'POST',
    path: '/v1/domains/demo/uploads',
    token: 'prefixed',
    body: { key: 'yours', size: 1 },
    problem: ['not-permitted', 403],
  },
  'a receipt that is none': {
    method: 'POST',
    path: '/v1/domains/demo/uploads/1/commit',
    body: { receipt: {} },
    problem: ['invalid-request', 400],
  },
  'nothing at this path': { method: 'GET', path: '/v1/nothing', problem: ['not-found', 404] },
};

describe('changes nothing and gets its problem:', () => {
  it.each(Object.entries(bad))(
    '%s',
    async (_what, { method, path, token, headers = {}, body, problem: [name, status] }) => {
      const before = await everything();
      const secret =
        token === 'admin'
          ? cluster().adminToken
          : token === undefined
            ? cluster().token
            : (tokens[token] ?? token);
      const answer = await cluster().request(method, path, {
        token: secret,
        headers,
        ...(body === undefined ? {} : { body }),
      });
      expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/);
      expect(answer.headers.get('cache-control')).toBe('no-store');
      expect(answer.headers.get('x-request-id')).toMatch(/./);
      expect(await problemOf(answer)).toEqual({ name, status });
      expect(await everything()).toBe(before);
    },
  );

  it('a chunked body over the limit', async () => {
    const { request, answer } = openRequest(cluster(), 'PUT', pathOfFile('a'), {});
    request.write(randomBytes(LIMIT));
    request.end(randomBytes(1));
    expect((await answer).status).toBe(413);
    expect((await get('a')).status).toBe(404);
  });
});

describe('a slow client', () => {
  it('that stops in the middle of a body is answered 408', async () => {
    const { request, answer } = openRequest(cluster(), 'PUT', pathOfFile('slow'), {
      'content-length': 600_000,
    });
    request.write(randomBytes(300_000));
    const { status, body } = await answer;
    expect([status, JSON.parse(body.toString()).type]).toEqual([408, 'urn:cistern:problem:request-timeout']);
    expect((await get('slow')).status).toBe(404);
  });

  it('that stops in the middle of a form is answered 408', async () => {
    const { request, answer } = openRequest(cluster(), 'POST', pathOfFile('slow'), {
      'content-type': 'multipart/form-data; boundary=x',
      'content-length': 600_000,
    });
    request.write('--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nsome bytes');
    expect((await answer).status).toBe(408);
    expect((await get('slow/a')).status).toBe(404);
    expect(cluster().logs()).not.toContain('"level":50');
  });

  it('that goes on slowly is served', async () => {
    const { request, answer } = openRequest(cluster(), 'PUT', pathOfFile('steady'), { 'content-length': 6 });
    for (let i = 0; i < 6; i++) {
      request.write('x');
      await sleep(400);
    }
    expect((await answer).status).toBe(201);
  });

  it('that sends no HTTP is told so', async () => {
    const { port } = new URL(cluster().trackers[0]?.url ?? '');
    const socket = connect(Number(port), '127.0.0.1');
    socket.end('what is this?\r\n\r\n');
    let text = '';
    for await (const chunk of socket) text += chunk;
    expect(text).toMatch(/^HTTP\/1.1 400 .*urn:cistern:problem:invalid-request/s);
  });
});
