import { existsSync, readFileSync } from 'node:fs';
import { request as rawRequest } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { formatDigest } from '../services/digests.ts';
import { partIsGenuine, type Receipt } from '../services/tickets.ts';
import { blobPath } from './layout.ts';
import {
  binding,
  keyring,
  random,
  sha256,
  sign,
  startPair,
  startTestNode,
  unfinishedBlobs,
  until,
} from './testing.ts';

const small = random(1000);
const large = random(3 * 1024 * 1024 + 17);
const { files, tracker, node, other: next, stop } = await startPair();
afterAll(stop);

const dev1 = () => node.paths[0] as string;
const stored = (fid: number) => join(dev1(), blobPath(fid));
const temporary = (path = dev1()) => unfinishedBlobs(path);
async function problemOf(answer: Response) {
  const { type } = (await answer.json()) as { type: string };
  return { status: answer.status, type: type.replace('urn:cistern:problem:', '') };
}

describe('PUT', () => {
  it.each([
    ['empty', Buffer.alloc(0)],
    ['small', small],
    ['large', large],
  ])('stores %s blobs at the MogileFS path, and gives back a genuine receipt', async (name, bytes) => {
    const fid = { empty: 12_345, small: 12_346, large: 12_347 }[name] as number;
    const answer = await node.put(fid, bytes);
    expect(answer.status).toBe(201);
    const receipt = (await answer.json()) as Receipt;
    expect(receipt).toMatchObject({ ...binding, fid, size: bytes.length, sha256: sha256(bytes) });
    const [part] = receipt.parts;
    if (part === undefined) throw new Error('no part');
    expect(partIsGenuine(keyring.nodeKeys('h1', part.session), receipt, part)).toBe(true);
    expect(readFileSync(join(dev1(), `0/000/012/00000${fid}.fid`)).equals(bytes)).toBe(true);
    expect(temporary()).toEqual([]);
    const back = await node.get(fid, bytes);
    expect(back.headers.get('etag')).toBe(`"${sha256(bytes)}"`);
    expect(Buffer.from(await back.arrayBuffer()).equals(bytes)).toBe(true);
  });

  it('answers the same bytes again with 200, and refuses other bytes', async () => {
    for (const [fid, bytes] of [
      [201, small],
      [202, large],
    ] as const) {
      expect((await node.put(fid, bytes)).status).toBe(201);
      const again = await node.put(fid, bytes);
      expect(again.status).toBe(200);
      expect(((await again.json()) as Receipt).parts).toHaveLength(1);
      const other = Buffer.from(bytes);
      other[0] = ~(other[0] as number);
      expect(await problemOf(await node.put(fid, other))).toEqual({ status: 409, type: 'blob-differs' });
      expect(readFileSync(stored(fid)).equals(bytes)).toBe(true);
      expect(temporary()).toEqual([]);
    }
  });

  it('lets one of many racing writers of different bytes win', async () => {
    const bodies = Array.from({ length: 20 }, () => random(5000));
    const answers = await Promise.all(bodies.map((body) => node.put(210, body)));
    const winners = bodies.filter((_, index) => answers[index]?.status === 201);
    expect(winners).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(19);
    expect(readFileSync(stored(210)).equals(winners[0] as Buffer)).toBe(true);
  });

  it('refuses bytes that do not match their digest, and keeps nothing', async () => {
    for (const [fid, bytes] of [
      [220, small],
      [221, large],
    ] as const) {
      for (const field of ['repr-digest', 'content-digest']) {
        const answer = await node.put(fid, bytes, { [field]: formatDigest(sha256(random(3))) });
        expect(await problemOf(answer)).toEqual({ status: 400, type: 'digest-mismatch' });
      }
      expect(existsSync(stored(fid))).toBe(false);
      expect(temporary()).toEqual([]);
      expect((await node.put(fid, bytes, { 'repr-digest': formatDigest(sha256(bytes)) })).status).toBe(201);
    }
  });

  it.each([
    ['small', 100, 50],
    ['large', 4 * 1024 * 1024, 2 * 1024 * 1024],
  ])('keeps nothing of a %s body that ends early', async (_name, announced, sent) => {
    const request = rawRequest(node.putUrl(230), {
      method: 'PUT',
      headers: { 'content-length': announced },
    });
    request.on('error', () => {});
    request.write(random(sent));
    await new Promise((resolve) =>
      request.once('socket', (socket) => socket.once('drain', resolve) && resolve(0)),
    );
    if (sent > 1_000_000) await until(() => temporary().length === 1);
    request.destroy();
    await until(() => temporary().length === 0);
    expect(existsSync(stored(230))).toBe(false);
  });

  it('bounds the body by the ticket, announced or not', async () => {
    const url = node.putUrl(240, { max: 999 });
    expect(await problemOf(await fetch(url, { method: 'PUT', body: small }))).toEqual({
      status: 413,
      type: 'body-too-large',
    });
    const chunked = new ReadableStream({
      start(controller) {
        controller.enqueue(small);
        controller.close();
      },
    });
    const answer = await fetch(url, { method: 'PUT', body: chunked, duplex: 'half' } as RequestInit);
    expect(await problemOf(answer)).toEqual({ status: 413, type: 'body-too-large' });
    expect(existsSync(stored(240))).toBe(false);
    expect(temporary()).toEqual([]);
  });

  it('takes a chunked body of unknown length', async () => {
    const chunked = new ReadableStream({
      start(controller) {
        controller.enqueue(small);
        controller.enqueue(large);
        controller.close();
      },
    });
    const answer = await fetch(node.putUrl(241), {
      method: 'PUT',
      body: chunked,
      duplex: 'half',
    } as RequestInit);
    expect(answer.status).toBe(201);
    expect(readFileSync(stored(241)).equals(Buffer.concat([small, large]))).toBe(true);
  });

  it('refuses tickets that are expired, forged, or for something else', async () => {
    const put = { op: 'put', dev: 1, fid: 250, max: 5000, ...binding } as const;
    const get = { op: 'get', dev: 1, fid: 250, size: 1, sha256: sha256(small) } as const;
    const tickets = [
      '',
      sign(get),
      sign({ ...put, fid: 251 }),
      sign({ ...put, dev: 2 }),
      keyring.sign({ ...put, exp: Date.now() - 10_000 }),
      `${sign(put)}x`.replace(/^../, 'ey'.split('').reverse().join('')),
    ];
    for (const ticket of tickets) {
      const answer = await fetch(node.at(1, 250, ticket), { method: 'PUT', body: small });
      expect(await problemOf(answer)).toEqual({ status: 403, type: 'ticket-refused' });
    }
    expect(existsSync(stored(250))).toBe(false);
  });

  it('cuts off a body that stands still, and keeps nothing of it', async () => {
    const impatient = await startTestNode({
      tracker,
      directory: join(files.path, 'h3'),
      devices: [4],
      env: { CISTERN_HOST: 'h3', CISTERN_IDLE_SECONDS: '0.5' },
    });
    const url = impatient.putUrl(260, { dev: 4 });
    const request = rawRequest(url, { method: 'PUT', headers: { 'content-length': 10_000_000 } });
    const status = new Promise((resolve) => {
      request.once('response', (answer) => resolve(answer.statusCode));
      request.once('error', () => resolve('cut'));
    });
    request.write(random(600_000));
    expect(await status).toBe(408);
    await until(() => temporary(impatient.paths[0]).length === 0);
    request.destroy();
    await impatient.stop();
  });
});

describe('a chain', () => {
  const nextUrl = (fid: number, url = next.url) =>
    `${url}/devices/3/blobs/${fid}?ticket=${sign({ op: 'put', dev: 3, fid, max: 2 ** 30, ...binding })}`;

  it.each([
    ['small', 301, small],
    ['large', 302, large],
  ])('stores %s blobs on both nodes, and both sign', async (_name, fid, bytes) => {
    const answer = await fetch(node.putUrl(fid, { next: nextUrl(fid) }), { method: 'PUT', body: bytes });
    const receipt = (await answer.json()) as Receipt;
    expect(receipt.parts.map(({ host, dev }) => [host, dev])).toEqual([
      ['h1', 1],
      ['h2', 3],
    ]);
    for (const part of receipt.parts) {
      expect(partIsGenuine(keyring.nodeKeys(part.host, part.session), receipt, part)).toBe(true);
    }
    const copy = readFileSync(join(next.paths[0] as string, blobPath(fid)));
    expect(copy.equals(bytes)).toBe(true);
  });

  it('goes on alone when the next node refuses, is not there, or hangs up in the middle', async () => {
    const hangsUp = createTcpServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.destroy());
    }).listen(0, '127.0.0.1');
    await until(() => hangsUp.listening);
    const { port } = hangsUp.address() as { port: number };
    const urls = [
      nextUrl(311).replace('/blobs/311', '/blobs/9'),
      nextUrl(311, 'http://127.0.0.1:9'),
      nextUrl(311, `http://127.0.0.1:${port}`),
    ];
    for (const [index, url] of urls.entries()) {
      for (const [offset, bytes] of [small, large].entries()) {
        const fid = 320 + 2 * index + offset;
        const answer = await fetch(node.putUrl(fid, { next: url }), { method: 'PUT', body: bytes });
        expect(answer.status).toBe(201);
        expect(((await answer.json()) as Receipt).parts.map(({ host }) => host)).toEqual(['h1']);
        expect(readFileSync(stored(fid)).equals(bytes)).toBe(true);
      }
    }
    hangsUp.close();
  });

  it('cuts off a next node that stands still', async () => {
    const stalls = createTcpServer((socket) => socket.on('error', () => {}).pause()).listen(0, '127.0.0.1');
    await until(() => stalls.listening);
    const { port } = stalls.address() as { port: number };
    const url = nextUrl(340, `http://127.0.0.1:${port}`);
    const bytes = random(40 * 1024 * 1024);
    const answer = await fetch(node.putUrl(340, { next: url }), { method: 'PUT', body: bytes });
    expect(((await answer.json()) as Receipt).parts.map(({ host }) => host)).toEqual(['h1']);
    stalls.close();
  });

  it('leaves nothing on either node when the client goes away', async () => {
    const request = rawRequest(node.putUrl(350, { next: nextUrl(350) }), {
      method: 'PUT',
      headers: { 'content-length': 50_000_000 },
    });
    request.on('error', () => {});
    request.write(random(2_000_000));
    const nextPath = next.paths[0] as string;
    await until(() => temporary().length === 1 && temporary(nextPath).length === 1);
    request.destroy();
    await until(() => temporary().length === 0 && temporary(nextPath).length === 0);
    expect(existsSync(stored(350)) || existsSync(join(nextPath, blobPath(350)))).toBe(false);
  });
});
