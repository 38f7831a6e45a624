// Files over HTTP: what docs/http-api.md promises of PUT, POST, DELETE and PATCH, on a real cluster. GET is in
// downloads.test.ts.
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { useCluster } from './support/cluster.ts';
import { digestField, filesOf, openRequest, pathOfFile, problemOf, sha256, sql } from './support/files.ts';
import { allOnDisks } from './support/replicas.ts';
import { waitFor } from './support/wait.ts';

const cluster = useCluster();
const { put, get, head, remove, patch, post } = filesOf(cluster);
const bytesOf = async (response: Response) => Buffer.from(await response.arrayBuffer());
const committed = async () =>
  (await sql<{ n: number }>(cluster(), "SELECT count(*)::int AS n FROM blobs WHERE state = 'live'"))[0]?.n;

describe('a round trip', () => {
  const sizes = [0, 1, 4_096, 256 * 1024, 256 * 1024 + 1, 1024 * 1024, 1024 * 1024 + 1, 20 * 1024 * 1024];
  it.each(sizes)('of %i bytes', async (size) => {
    const bytes = randomBytes(size);
    const key = `round/${size}.jpg`;
    const stored = await put(key, bytes, { 'repr-digest': digestField(bytes) });
    expect(stored.status).toBe(201);
    const etag = `"${sha256(bytes)}"`;
    expect(stored.headers.get('etag')).toBe(etag);
    expect(stored.headers.get('location')).toBe(pathOfFile(key));
    const entry = {
      kind: 'file',
      key,
      size,
      etag,
      sha256: sha256(bytes),
      contentType: 'image/jpeg',
      class: 'default',
      meta: {},
    };
    expect(await stored.json()).toMatchObject(entry);
    const read = await get(key);
    expect(read.status).toBe(200);
    expect(Object.fromEntries(read.headers)).toMatchObject({
      etag,
      'content-length': String(size),
      'content-type': 'image/jpeg',
      'accept-ranges': 'bytes',
      'cache-control': 'private, no-cache',
      'x-content-type-options': 'nosniff',
    });
    expect((await bytesOf(read)).equals(bytes)).toBe(true);
    const asked = await head(key);
    expect(asked.headers.get('content-length')).toBe(String(size));
    expect(asked.headers.get('etag')).toBe(etag);
  });

  it.each([0, 1_000, 3 * 1024 * 1024])('of a chunked body of %i bytes', async (size) => {
    const bytes = randomBytes(size);
    const { request, answer } = openRequest(cluster(), 'PUT', pathOfFile(`chunked/${size}`), {});
    for (let at = 0; at < size; at += 100_000) request.write(bytes.subarray(at, at + 100_000));
    request.end();
    expect((await answer).status).toBe(201);
    expect((await bytesOf(await get(`chunked/${size}`))).equals(bytes)).toBe(true);
  });

  it('keeps two copies on different hosts', async () => {
    await put('two-copies', 'x');
    const rows = await sql<{ hosts: number }>(
      cluster(),
      `SELECT count(DISTINCT d.host_id)::int AS hosts FROM names n JOIN locations l USING (fid)
        JOIN devices d ON d.id = l.device_id WHERE n.name = 'two-copies'`,
    );
    expect(rows).toEqual([{ hosts: 2 }]);
  });
});

describe('PUT', () => {
  it('keeps what is said of the file, and changes it by PATCH', async () => {
    const said = {
      'content-type': 'text/x-own; charset=utf-8',
      'cistern-mtime': '2020-02-29T12:00:00.5+02:00',
      'cistern-meta': '{"mode":420,"é":"\\u00fc"}',
    };
    const meta = Buffer.from(said['cistern-meta']).toString('latin1');
    const stored = await put('said.png', 'x', { ...said, 'cistern-meta': meta });
    const entry = {
      contentType: said['content-type'],
      mtime: '2020-02-29T10:00:00.500Z',
      meta: { mode: 420, é: 'ü' },
    };
    expect(await stored.json()).toMatchObject(entry);
    expect((await get('said.png')).headers.get('last-modified')).toBe('Sat, 29 Feb 2020 10:00:00 GMT');
    const body = { contentType: 'image/png', mtime: '2021-01-01T00:00:00Z', meta: { a: [1] } };
    const changed = await patch('said.png', { body });
    expect(changed.status).toBe(200);
    expect(await changed.json()).toMatchObject({ ...body, mtime: '2021-01-01T00:00:00.000Z', size: 1 });
    const refused = await patch('said.png', { body: { meta: {} }, headers: { 'if-match': '"other"' } });
    expect(await problemOf(refused)).toEqual({ name: 'precondition-failed', status: 412 });
  });

  it.each([
    ['a.json', 'application/json'],
    ['a.html', 'text/html'],
    ['a.unknown', 'application/octet-stream'],
    ['noext', 'application/octet-stream'],
  ])('derives the type of %s from its name', async (key, type) => {
    await put(key, Buffer.from('{}'));
    expect((await get(key)).headers.get('content-type')).toBe(type);
  });

  it('replaces a file, and answers 200', async () => {
    await put('replaced', 'one');
    const second = await put('replaced', 'two');
    expect([second.status, second.headers.get('location')]).toEqual([200, null]);
    expect(await (await get('replaced')).text()).toBe('two');
  });

  it.each([
    ['small', 100],
    ['large', 2 * 1024 * 1024],
  ])('refuses a digest that does not match (%s) and leaves nothing', async (name, size) => {
    const [files, blobs] = [await allOnDisks(cluster()), await committed()];
    const refused = await put(`mismatch-${name}`, randomBytes(size), {
      'content-digest': digestField('other'),
    });
    expect(await problemOf(refused)).toEqual({ name: 'digest-mismatch', status: 400 });
    expect((await get(`mismatch-${name}`)).status).toBe(404);
    expect([await allOnDisks(cluster()), await committed()]).toEqual([files, blobs]);
  });

  it.each([
    ['small', 1_000, {}],
    ['large', 2 * 1024 * 1024, {}],
    ['chunked', 2 * 1024 * 1024, { 'transfer-encoding': 'chunked' }],
  ])('leaves nothing of a truncated body (%s)', async (name, size, headers) => {
    const [files, blobs] = [await allOnDisks(cluster()), await committed()];
    const length = 'transfer-encoding' in headers ? headers : { 'content-length': size };
    const { request, answer } = openRequest(cluster(), 'PUT', pathOfFile(`truncated-${name}`), length);
    request.write(randomBytes(size - 1));
    await waitFor(() => request.socket?.writableLength === 0, { what: 'the body to be sent' });
    request.destroy();
    await expect(answer).rejects.toThrow();
    await waitFor(async () => (await allOnDisks(cluster())).length === files.length, {
      what: 'the disks to be clean again',
    });
    expect((await get(`truncated-${name}`)).status).toBe(404);
    expect(await committed()).toBe(blobs);
  });

  it('answers a refusal at once, though the body goes on', async () => {
    const headers = { 'if-none-match': '*', 'content-length': 500 * 1024 * 1024 };
    await put('refused-early', 'x');
    const { request, answer } = openRequest(cluster(), 'PUT', pathOfFile('refused-early'), headers);
    request.write(randomBytes(1024 * 1024));
    const { status, headers: given } = await answer;
    expect([status, given.etag]).toEqual([412, `"${sha256('x')}"`]);
    request.destroy();
  });

  it('lets exactly one of 50 exclusive writers create the file', async () => {
    const writers = Array.from({ length: 50 }, (_, i) =>
      put('raced', `writer ${i}`, { 'if-none-match': '*' }),
    );
    const answers = await Promise.all(writers);
    expect(answers.map(({ status }) => status).sort()).toEqual([
      201,
      ...Array.from({ length: 49 }, () => 412),
    ]);
    const winner = answers.findIndex(({ status }) => status === 201);
    expect(await (await get('raced')).text()).toBe(`writer ${winner}`);
  });

  it('makes a chain of successes with If-Match', async () => {
    await put('chain', '0');
    const append = async (name: string) => {
      for (let done = 0; done < 5; ) {
        const now = await get('chain');
        const next = `${await now.text()},${name}${done}`;
        const answer = await put('chain', next, { 'if-match': now.headers.get('etag') ?? '' });
        if (answer.status === 200) done++;
        else expect(await problemOf(answer)).toEqual({ name: 'precondition-failed', status: 412 });
      }
    };
    await Promise.all(['a', 'b', 'c'].map(append));
    const links = (await (await get('chain')).text()).split(',');
    expect(links).toHaveLength(16);
    expect(new Set(links).size).toBe(16);
  });

  it('repeats the first answer to an Idempotency-Key, and stores nothing again', async () => {
    const headers = { 'idempotency-key': 'once-1', 'if-none-match': '*' };
    const first = await put('once', 'x', headers);
    const entry = await first.json();
    await remove('once');
    const again = await put('once', 'y', headers);
    expect([again.status, await again.json()]).toEqual([201, entry]);
    expect([first.headers.get('etag'), first.headers.get('location')]).toEqual([
      again.headers.get('etag'),
      again.headers.get('location'),
    ]);
    expect((await get('once')).status).toBe(404);
    expect(await problemOf(await put('other', 'x', headers))).toEqual({
      name: 'state-conflict',
      status: 409,
    });
  });

  it('gives up the bytes of a write that lost, also when many retry with one Idempotency-Key', async () => {
    const headers = { 'idempotency-key': 'once-2' };
    const blobs = Number(await committed());
    const answers = await Promise.all(Array.from({ length: 8 }, () => put('many', 'x', headers)));
    expect(new Set(answers.map(({ status }) => status)).has(201)).toBe(true);
    const states = await sql(
      cluster(),
      "SELECT DISTINCT l.state FROM locations l JOIN blobs b USING (fid) WHERE b.state = 'void'",
    );
    expect(states).toEqual([{ state: 'removing' }]);
    expect(await committed()).toBe(blobs + 1);
  });
});

describe('DELETE', () => {
  it('deletes what it was told to', async () => {
    await put('gone', 'x');
    const stale = await remove('gone', { headers: { 'if-match': '"other"' } });
    expect([stale.headers.get('etag'), await problemOf(stale)]).toEqual([
      `"${sha256('x')}"`,
      { name: 'precondition-failed', status: 412 },
    ]);
    expect((await remove('gone')).status).toBe(204);
    expect(await problemOf(await get('gone'))).toEqual({ name: 'file-not-found', status: 404 });
    expect((await remove('gone')).status).toBe(404);
  });
});

describe('POST of a form', () => {
  const form = (files: [name: string, body: string | Uint8Array][]) => {
    const data = new FormData();
    data.append('comment', 'not a file');
    for (const [name, body] of files)
      data.append('files[]', new Blob([body as never], { type: 'text/css' }), name);
    return data;
  };
  const send = (directory: string, data: FormData, headers: Record<string, string> = {}) =>
    fetch(`${cluster().trackers[0]?.url}/v1/domains/demo/files/${directory}`, {
      method: 'POST',
      body: data,
      headers: { authorization: `Bearer ${cluster().token}`, ...headers },
    });

  it('stores several files at once, small and large', async () => {
    const large = randomBytes(2 * 1024 * 1024);
    const answer = await send(
      'form/',
      form([
        ['ä b.css', 'one'],
        ['large', large],
        ['empty', ''],
      ]),
    );
    expect(answer.status).toBe(201);
    const { files } = (await answer.json()) as { files: { key: string; contentType: string }[] };
    expect(files.map(({ key }) => key)).toEqual(['form/ä b.css', 'form/large', 'form/empty']);
    expect(files[0]?.contentType).toBe('text/css');
    expect(await (await get('form/ä b.css')).text()).toBe('one');
    expect((await bytesOf(await get('form/large'))).equals(large)).toBe(true);
    expect((await send('', form([['at-the-root', 'x']]))).status).toBe(201);
    expect((await get('at-the-root')).status).toBe(200);
  });

  it('stores all or none', async () => {
    await put('all/taken', 'old');
    const refused = await send(
      'all',
      form([
        ['new', 'x'],
        ['taken', 'x'],
      ]),
      { 'if-none-match': '*' },
    );
    expect(await problemOf(refused)).toEqual({ name: 'precondition-failed', status: 412 });
    expect((await get('all/new')).status).toBe(404);
    expect(await (await get('all/taken')).text()).toBe('old');
  });

  it.each([
    [
      'two files of one name',
      form([
        ['a', '1'],
        ['a', '2'],
      ]),
      'invalid-request',
      400,
    ],
    ['no file at all', form([]), 'invalid-request', 400],
    ['a name that is too long', form([['n'.repeat(1_100), 'x']]), 'invalid-key', 400],
  ] as const)('refuses %s', async (_what, data, name, status) => {
    const blobs = await committed();
    expect(await problemOf(await send('refused', data))).toEqual({ name, status });
    expect(await committed()).toBe(blobs);
  });

  it('refuses a form that breaks off', async () => {
    const headers = { 'content-type': 'multipart/form-data; boundary=x' };
    const part = '--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nsome bytes';
    const refused = await post('broken', { body: part, headers });
    expect(refused.status).toBe(400);
    expect((await get('broken/a')).status).toBe(404);
  });

  it('refuses other types', async () => {
    expect(await problemOf(await post('form', { body: {} }))).toEqual({
      name: 'unsupported-media-type',
      status: 415,
    });
  });
});
