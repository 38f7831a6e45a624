// Many small files in one request, each by itself; former versions that come late; and summaries of directories.
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { useCluster } from './support/cluster.ts';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

interface Sent {
  key: string;
  bytes: string;
  [field: string]: unknown;
}

describe('batch', () => {
  const cluster = useCluster();
  const base = () => `/v1/domains/${cluster().domain}`;

  async function send(files: Sent[], options: { token?: string; extra?: string; length?: number } = {}) {
    const manifest = JSON.stringify(
      files.map(({ bytes, ...file }) => ({ size: Buffer.byteLength(bytes), ...file })),
    );
    const answer = await cluster().request('POST', `${base()}/batch`, {
      body: Buffer.from(manifest + files.map(({ bytes }) => bytes).join('') + (options.extra ?? '')),
      headers: {
        'content-type': 'application/vnd.cistern.batch',
        'cistern-manifest-length': String(options.length ?? Buffer.byteLength(manifest)),
      },
      ...(options.token && { token: options.token }),
    });
    const body = (await answer.json()) as { results?: Record<string, unknown>[]; type?: string };
    return { status: answer.status, ...body };
  }
  const text = async (key: string) => (await cluster().request('GET', `${base()}/files/${key}`)).text();

  test('each file is stored or refused by itself, in order', async () => {
    await send([{ key: 'b/taken', bytes: 'first' }]);
    const { status, results } = await send([
      {
        key: 'b/one',
        bytes: 'one',
        mtime: '2020-01-01T00:00:00.000Z',
        meta: { mode: '0640' },
        sha256: sha256('one'),
      },
      { key: 'b/wrong', bytes: 'bytes', sha256: sha256('other bytes') },
      { key: 'b/taken', bytes: 'second', ifNoneMatch: '*' },
      { key: 'b/../up', bytes: 'x' },
      { key: 'b/none', bytes: 'x', class: 'no-such' },
      { key: 'b/empty', bytes: '' },
    ]);
    expect(status).toBe(200);
    expect(results).toMatchObject([
      {
        key: 'b/one',
        size: 3,
        sha256: sha256('one'),
        mtime: '2020-01-01T00:00:00.000Z',
        meta: { mode: '0640' },
      },
      { type: 'urn:cistern:problem:digest-mismatch' },
      { type: 'urn:cistern:problem:precondition-failed' },
      { type: 'urn:cistern:problem:invalid-key' },
      { type: 'urn:cistern:problem:class-not-found' },
      { key: 'b/empty', size: 0 },
    ]);
    expect(await text('b/taken')).toBe('first');
    const wrong = { key: 'b/taken', bytes: 'third', ifMatch: sha256('another') };
    expect((await send([wrong])).results).toMatchObject([
      { type: 'urn:cistern:problem:precondition-failed' },
    ]);
    expect((await send([{ ...wrong, ifMatch: sha256('first') }])).results).toMatchObject([
      { key: 'b/taken' },
    ]);
    expect(await text('b/taken')).toBe('third');
  });

  test('a request that is malformed stores nothing', async () => {
    const file = { key: 'b/malformed', bytes: 'x' };
    expect(await send([file], { extra: 'more than announced' })).toMatchObject({ status: 400 });
    expect(await send([file], { length: 3 })).toMatchObject({ status: 400 });
    expect(await send([{ ...file, unknown: true }])).toMatchObject({ status: 400 });
    expect((await cluster().request('GET', `${base()}/files/b/malformed`)).status).toBe(404);
  });

  test('a token with a prefix stores below it only', async () => {
    const token = await cluster().makeToken({ scopes: ['write'], prefix: 'mine/' });
    const { results } = await send(
      [
        { key: 'mine/a', bytes: 'a' },
        { key: 'yours/a', bytes: 'a' },
      ],
      { token },
    );
    expect(results).toMatchObject([{ key: 'mine/a' }, { type: 'urn:cistern:problem:not-permitted' }]);
  });

  test('a former version goes into the trash, and nobody sees it under its key', async () => {
    await send([{ key: 'past/key', bytes: 'what is there' }]);
    const past = { mtime: '2020-01-01T00:00:00.000Z', past: true };
    const { results } = await send([
      { key: 'past/key', bytes: 'a former one', ...past },
      { key: 'past/never', bytes: 'of a key that holds nothing', ...past },
    ]);
    expect(results).toMatchObject([{ key: 'past/key' }, { key: 'past/never' }]);
    expect(await text('past/key')).toBe('what is there');
    const put = await cluster().request('PUT', `${base()}/files/past/key`, {
      body: 'by PUT',
      headers: { 'cistern-version': 'past' },
    });
    expect(put.status).toBe(200);
    const listed = await cluster().request('GET', `${base()}/trash?prefix=past/`);
    const { versions } = (await listed.json()) as { versions: { id: number; key: string; etag: string }[] };
    expect(versions.map(({ key, etag }) => [key, etag])).toEqual([
      ['past/key', `"${sha256('a former one')}"`],
      ['past/key', `"${sha256('by PUT')}"`],
      ['past/never', `"${sha256('of a key that holds nothing')}"`],
    ]);
    const id = versions[2]?.id;
    await cluster().request('POST', `${base()}/trash/${id}/restore`, { body: {} });
    expect(await text('past/never')).toBe('of a key that holds nothing');
    // A class without trash has no place for it.
    const admin = { token: cluster().adminToken };
    await cluster().request('PUT', `${base()}/classes/fleeting`, { ...admin, body: { trash: false } });
    const refused = await send([{ key: 'past/x', bytes: 'x', class: 'fleeting', past: true }]);
    expect(refused.results).toMatchObject([{ type: 'urn:cistern:problem:state-conflict' }]);
  });

  test('summaries tell what lies in each directory, page by page', async () => {
    const mtime = '2020-01-01T00:00:00.123Z';
    await send([
      { key: 's/b', bytes: 'bb', mtime, meta: { mode: '0640' } },
      { key: 's/a', bytes: 'a', mtime },
      { key: 's/below/c', bytes: 'c', mtime },
    ]);
    const page = async (query: string) =>
      (await (await cluster().request('GET', `${base()}/summaries/s?${query}`)).json()) as {
        directories: unknown[];
        next?: string;
      };
    const time = Date.parse(mtime);
    const wanted = [
      { key: 's', files: 2, bytes: 3, digest: sha256(`a/1/${time}/0644\nb/2/${time}/0640\n`) },
      { key: 's/below', files: 1, bytes: 1, digest: sha256(`c/1/${time}/0644\n`) },
    ];
    expect(await page('')).toEqual({ directories: wanted });
    const first = await page('limit=1');
    expect(first.directories).toEqual([wanted[0]]);
    expect(await page(`limit=1&cursor=${first.next}`)).toEqual({ directories: [wanted[1]] });
    const none = await cluster().request('GET', `${base()}/summaries/nowhere`);
    expect(await none.json()).toEqual({ directories: [] });
  });
});
