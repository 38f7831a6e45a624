// Downloads over HTTP: what docs/http-api.md promises of GET and HEAD, on a real cluster.
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { useCluster } from './support/cluster.ts';
import { digestField, filesOf, problemOf, sha256 } from './support/files.ts';
import { waitFor } from './support/wait.ts';

const cluster = useCluster();
const { put, get } = filesOf(cluster);
const bytesOf = async (response: Response) => Buffer.from(await response.arrayBuffer());

describe('GET', () => {
  const text = '0123456789';
  const big = randomBytes(3 * 1024 * 1024);

  it.each([
    ['bytes=0-3', 'bytes 0-3/10', '0123'],
    ['bytes=4-', 'bytes 4-9/10', '456789'],
    ['bytes=-2', 'bytes 8-9/10', '89'],
    ['bytes=-99', 'bytes 0-9/10', text],
    ['bytes=8-99', 'bytes 8-9/10', '89'],
  ])('gives %s', async (range, contentRange, expected) => {
    await put('ranged', text);
    const part = await get('ranged', { headers: { range } });
    expect([part.status, part.headers.get('content-range'), await part.text()]).toEqual([
      206,
      contentRange,
      expected,
    ]);
    expect(part.headers.get('content-length')).toBe(String(expected.length));
  });

  it('gives several ranges, of large files too', async () => {
    await put('ranged-big', big);
    const answer = await get('ranged-big', { headers: { range: 'bytes=0-1,2000000-2000003,-1' } });
    expect(answer.status).toBe(206);
    const body = await bytesOf(answer);
    expect(body.length).toBe(Number(answer.headers.get('content-length')));
    for (const part of [big.subarray(0, 2), big.subarray(2_000_000, 2_000_004), big.subarray(-1)]) {
      expect(body.includes(part)).toBe(true);
    }
    const half = await get('ranged-big', { headers: { range: 'bytes=1500000-' } });
    expect((await bytesOf(half)).equals(big.subarray(1_500_000))).toBe(true);
  });

  it('refuses ranges outside of the file, and ignores malformed ones', async () => {
    await put('ranged', text);
    const refused = await get('ranged', { headers: { range: 'bytes=10-' } });
    expect(refused.headers.get('content-range')).toBe('bytes */10');
    expect(await problemOf(refused)).toEqual({ name: 'range-not-satisfiable', status: 416 });
    expect((await get('ranged', { headers: { range: 'lines=1-2' } })).status).toBe(200);
    expect((await get('ranged', { headers: { range: 'bytes=0-1', 'if-range': '"other"' } })).status).toBe(
      200,
    );
    expect(
      (await get('ranged', { headers: { range: 'bytes=0-1', 'if-range': `"${sha256(text)}"` } })).status,
    ).toBe(206);
  });

  it('answers conditions', async () => {
    await put('conditional', 'x', { 'cistern-mtime': '2020-01-01T00:00:00Z' });
    const etag = `"${sha256('x')}"`;
    const same = 'Wed, 01 Jan 2020 00:00:00 GMT';
    const later = 'Wed, 01 Jan 2025 00:00:00 GMT';
    const status = async (headers: Record<string, string>) => (await get('conditional', { headers })).status;
    expect(await status({ 'if-none-match': etag })).toBe(304);
    expect(await status({ 'if-none-match': '"other"' })).toBe(200);
    expect(await status({ 'if-modified-since': same })).toBe(304);
    expect(await status({ 'if-modified-since': later })).toBe(200);
    expect(await status({ 'if-match': '"other"' })).toBe(412);
    expect(await status({ 'if-unmodified-since': 'Tue, 31 Dec 2019 23:59:59 GMT' })).toBe(412);
    const known = await get('conditional', { headers: { 'if-none-match': etag } });
    expect([known.headers.get('etag'), await known.text()]).toEqual([etag, '']);
  });

  it('names downloads in UTF-8', async () => {
    await put('names/Übersicht "1".pdf', 'x');
    const own = await get('names/Übersicht "1".pdf', { query: '?download' });
    expect(own.headers.get('content-disposition')).toContain("filename*=UTF-8''%C3%9Cbersicht%20%221%22.pdf");
    const given = await get('names/Übersicht "1".pdf', {
      query: `?download=${encodeURIComponent('日本.pdf')}`,
    });
    expect(given.headers.get('content-disposition')).toContain("filename*=UTF-8''%E6%97%A5%E6%9C%AC.pdf");
  });

  it('sends Repr-Digest if it is asked for', async () => {
    await put('digest', 'x');
    const digest = async (want: string) =>
      (await get('digest', { headers: { 'want-repr-digest': want } })).headers.get('repr-digest');
    expect(await digest('sha-256=5')).toBe(digestField('x'));
    expect(await digest('sha-256=0')).toBeNull();
    expect(await digest('sha-512=5')).toBeNull();
    expect(await digest('((')).toBeNull();
  });

  it('redirects to a storage node with all headers, for tokens that may', async () => {
    await put('redirected.txt', text, { 'content-type': 'text/plain' });
    const answer = await get('redirected.txt', { query: '?via=redirect&download=a.txt' });
    expect([answer.status, answer.headers.get('cache-control')]).toEqual([307, 'no-store']);
    const read = await fetch(answer.headers.get('location') ?? '', { headers: { range: 'bytes=2-3' } });
    expect([read.status, await read.text()]).toEqual([206, '23']);
    expect(Object.fromEntries(read.headers)).toMatchObject({
      etag: `"${sha256(text)}"`,
      'content-type': 'text/plain',
      'content-disposition': 'attachment; filename=a.txt',
      'cache-control': 'private, no-cache',
    });
    const made = await cluster().request('POST', '/v1/tokens', {
      token: cluster().adminToken,
      body: { name: 'reader', scopes: ['read'], domain: 'demo' },
    });
    const { token } = (await made.json()) as { token: string };
    const refused = await get('redirected.txt', { query: '?via=redirect', token });
    expect(await problemOf(refused)).toEqual({ name: 'not-permitted', status: 403 });
  });

  it('redirects to a URL that ends when it was asked to', async () => {
    await put('shortly.txt', text);
    const answer = await get('shortly.txt', { query: '?via=redirect&seconds=1' });
    const url = answer.headers.get('location') ?? '';
    expect((await fetch(url)).status).toBe(200);
    await waitFor(async () => (await fetch(url)).status === 403, { what: 'the ticket to expire' });
  });
});
