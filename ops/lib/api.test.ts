// The client and the transfers against servers that misbehave, over real HTTP.
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { Problem } from '../../services/problems.ts';
import { Api, directoryPath, filePath } from './api.ts';
import { downloadTo } from './download.ts';
import type { Failure } from './failure.ts';
import { DIRECT_ABOVE, Uploader } from './upload.ts';

const signal = new AbortController().signal;

async function serve(listener: RequestListener): Promise<URL> {
  const server: Server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
}

/** The URL of a port where nobody listens. */
async function nobody(): Promise<URL> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return new URL(`http://127.0.0.1:${port}`);
}

function client(...urls: URL[]): Api {
  const api = new Api(urls, 'secret', signal);
  onTestFinished(() => api.close());
  return api;
}

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), 'cistern-api-'));
  onTestFinished(() => rmSync(path, { recursive: true }));
  return path;
}

const json = (value: unknown): string => JSON.stringify(value);
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const entryOf = (bytes: Buffer) => ({ kind: 'file', size: bytes.length, sha256: sha256(bytes) });

test('a tracker that is away is skipped for the next one, which is asked first from then on', async () => {
  let asked = 0;
  const api = client(
    await nobody(),
    await serve((request, response) => {
      asked++;
      expect(request.headers.authorization).toBe('Bearer secret');
      response.end(json({ url: request.url }));
    }),
  );
  expect(await api.json({ method: 'POST', path: '/a', json: {} })).toEqual({ url: '/a' });
  expect(await api.json({ method: 'GET', path: '/b', query: { x: 'ä b', no: undefined } })).toEqual({
    url: '/b?x=%C3%A4+b',
  });
  expect(asked).toBe(2);
});

test('a tracker that lost its database is skipped too, for what may be repeated', async () => {
  const asked: string[] = [];
  const away = await serve((request, response) => {
    asked.push(`${request.method}`);
    response.writeHead(503).end(json(new Problem('database-unavailable')));
  });
  const good = await serve((_request, response) => void response.end('{}'));
  await client(away, good).json({ method: 'GET', path: '/' });
  await client(away, good).json({ method: 'PUT', path: '/', headers: { 'idempotency-key': 'k' } });
  await expect(client(away, good).json({ method: 'POST', path: '/' })).rejects.toThrow('database');
  expect(asked).toEqual(['GET', 'PUT', 'POST']);
});

test('a tracker that stands still is given up in the time that the request allows', async () => {
  const still = await serve(() => {});
  const good = await serve((_request, response) => void response.end('{}'));
  const request = { method: 'GET', path: '/', patience: 0, answerWithin: 200 } as const;
  expect(await client(still, good).json(request)).toEqual({});
  const failure = (await client(still)
    .json(request)
    .catch((error) => error)) as Failure;
  expect(failure.exit).toBe(2);
  expect(failure.line).toMatch(/cannot reach http:.* \(no answer in time\)/);
});

test('a write whose answer was lost is not sent twice, unless it carries a key against that', async () => {
  let asked = 0;
  const cuts = await serve((request) => {
    asked++;
    request.socket.destroy();
  });
  const other = await serve((_request, response) => {
    asked++;
    response.end('{}');
  });
  const lost = await client(cuts, other)
    .json({ method: 'POST', path: '/' })
    .catch((error: Failure) => error);
  expect((lost as Failure).line).toMatch(/^cistern: cannot reach any of .* \(the connection broke\)/);
  expect(asked).toBe(1);
  await client(cuts, other).json({ method: 'POST', path: '/', headers: { 'idempotency-key': 'k' } });
  expect(asked).toBe(3);
});

test('nobody there, or somebody else there: exit code 2 and a line that says which', async () => {
  const gone = client(await nobody());
  const failure = (await gone.json({ method: 'GET', path: '/' }).catch((error) => error)) as Failure;
  expect(failure.exit).toBe(2);
  expect(failure.line).toMatch(/cannot reach http:.* \(connection refused\); is it running there\?/);
  const web = await serve((_request, response) => void response.end('<h1>It works!</h1>'));
  const page = (await client(web)
    .json({ method: 'GET', path: '/' })
    .catch((error) => error)) as Failure;
  expect(page.exit).toBe(2);
  expect(page.line).toMatch(/answered 200 without JSON; is this the URL of a Cistern tracker\?/);
});

test('keys are checked before they become paths, so that none turns into another one', () => {
  expect(filePath('d', 'a b/#?%+"/日本')).toBe(
    '/v1/domains/d/files/a%20b/%23%3F%25%2B%22/%E6%97%A5%E6%9C%AC',
  );
  for (const bad of ['a/../b', './a', '', 'a//b', '/a', 'a/'])
    expect(() => filePath('d', bad), bad).toThrow(Problem);
  expect([directoryPath('d', '/'), directoryPath('d', ''), directoryPath('d', 'a/')]).toEqual([
    '/v1/domains/d/directories/',
    '/v1/domains/d/directories/',
    '/v1/domains/d/directories/a',
  ]);
});

test('a download goes on where its connection broke, and is there whole or not at all', async () => {
  const bytes = Buffer.alloc(3_000_000, 'cistern ');
  const etag = `"${sha256(bytes)}"`;
  const asked: (string | undefined)[] = [];
  const url = await serve((request, response) => {
    asked.push(request.headers.range);
    const from = Number(/\d+/.exec(request.headers.range ?? '0')?.[0]);
    if (from > 0) expect(request.headers['if-match']).toBe(etag);
    const length = bytes.length - from;
    response.writeHead(from > 0 ? 206 : 200, { etag, 'content-length': length });
    // Breaks after the first million bytes of each answer.
    response.write(bytes.subarray(from, from + 1_000_000), () => {
      if (length > 1_000_000) response.socket?.destroy();
    });
  });
  const target = join(directory(), 'file');
  let counted = 0;
  await downloadTo(client(url), 'd', 'key', target, signal, {
    onBytes: (count) => {
      counted += count;
    },
  });
  expect(readFileSync(target).equals(bytes)).toBe(true);
  expect(counted).toBe(bytes.length);
  expect(asked.length).toBeGreaterThan(1);
});

test('bytes that are not the file are said loudly, and leave what was there before', async () => {
  const url = await serve((_request, response) => {
    response.writeHead(200, { etag: `"${'0'.repeat(64)}"` }).end('other bytes');
  });
  const target = join(directory(), 'file');
  writeFileSync(target, 'before');
  await expect(downloadTo(client(url), 'd', 'key', target, signal, { onBytes: () => {} })).rejects.toThrow(
    'THE BYTES RECEIVED ARE NOT THE FILE',
  );
  expect(readFileSync(target, 'utf8')).toBe('before');
  expect(readdirSync(join(target, '..'))).toEqual(['file']);
});

test('a download never takes the place of a device file', async () => {
  await expect(
    downloadTo(client(await nobody()), 'd', 'key', '/dev/null', signal, { onBytes: () => {} }),
  ).rejects.toThrow('not a regular file');
});

function uploader(url: URL): Uploader {
  const made = new Uploader(client(url), 'd', signal, true);
  onTestFinished(() => made.close());
  return made;
}

function largeFile(): { path: string; bytes: Buffer } {
  const bytes = Buffer.alloc(DIRECT_ABOVE + 12_345, 'large ');
  const path = join(directory(), 'large');
  writeFileSync(path, bytes);
  return { path, bytes };
}

test('a small file announces its digest; other bytes at the tracker are a failure', async () => {
  const digests: unknown[] = [];
  const url = await serve(async (request, response) => {
    digests.push(request.headers['repr-digest']);
    const bytes = await buffer(request);
    response.writeHead(201).end(json(entryOf(bytes.equals(Buffer.from('bad')) ? Buffer.from('x') : bytes)));
  });
  await uploader(url).buffer(Buffer.from('good'), 'key', {});
  expect(digests).toEqual([`sha-256=:${createHash('sha256').update('good').digest('base64')}:`]);
  await expect(uploader(url).buffer(Buffer.from('bad'), 'key', {})).rejects.toThrow(
    'OTHER BYTES THAN WERE SENT',
  );
});

test('a large file goes straight to the node, and is committed with its receipt', async () => {
  const { path, bytes } = largeFile();
  const node = await serve(async (request, response) => {
    const got = await buffer(request);
    response.writeHead(201).end(json({ fid: 7, sha256: sha256(got), size: got.length }));
  });
  const committed: unknown[] = [];
  const url = await serve(async (request, response) => {
    const body = (await buffer(request)).toString();
    if (request.url === '/v1/domains/d/uploads') {
      expect(JSON.parse(body)).toEqual({ key: 'key', size: bytes.length });
      return void response
        .writeHead(201)
        .end(json({ fid: 7, url: `${node.origin}/devices/1/blobs/7?ticket=t` }));
    }
    expect(request.url).toBe('/v1/domains/d/uploads/7/commit');
    committed.push(JSON.parse(body).receipt.sha256, request.headers['if-none-match']);
    response.writeHead(201).end(json(entryOf(bytes)));
  });
  let counted = 0;
  await uploader(url).file(path, bytes.length, 'key', { exclusive: true }, (count) => {
    counted += count;
  });
  expect(committed).toEqual([sha256(bytes), '*']);
  expect(counted).toBe(bytes.length);
});

test('a large file goes through the tracker if the node cannot be reached, and other files do so at once', async () => {
  const { path, bytes } = largeFile();
  const away = await nobody();
  const asked: string[] = [];
  const url = await serve(async (request, response) => {
    asked.push(`${request.method}`);
    const body = await buffer(request);
    if (request.method === 'POST')
      response.writeHead(201).end(json({ fid: 7, url: `${away.origin}/x?ticket=t` }));
    else response.writeHead(201).end(json(entryOf(body)));
  });
  const one = uploader(url);
  let counted = 0;
  const count = (more: number) => {
    counted += more;
  };
  const entry = await one.file(path, bytes.length, 'key', {}, count);
  await one.file(path, bytes.length, 'key', {}, count);
  expect(entry.sha256).toBe(sha256(bytes));
  expect(asked).toEqual(['POST', 'PUT', 'PUT']);
  expect(counted).toBe(2 * bytes.length);
});

test('a node that received other bytes gets no commit', async () => {
  const { path, bytes } = largeFile();
  const node = await serve(async (request, response) => {
    await buffer(request);
    response.writeHead(201).end(json({ fid: 7, sha256: '0'.repeat(64), size: bytes.length }));
  });
  const asked: unknown[] = [];
  const url = await serve(async (request, response) => {
    asked.push(request.url);
    await buffer(request);
    response.writeHead(201).end(json({ fid: 7, url: `${node.origin}/x?ticket=t` }));
  });
  await expect(uploader(url).file(path, bytes.length, 'key', {}, () => {})).rejects.toThrow(
    'OTHER BYTES THAN WERE SENT',
  );
  expect(asked).toEqual(['/v1/domains/d/uploads']);
});
