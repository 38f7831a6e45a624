import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { blobPath } from './layout.ts';
import {
  type FakeTracker,
  random,
  scratch,
  sha256,
  sign,
  startFakeTracker,
  startTestNode,
  until,
} from './testing.ts';

const small = random(1000);
const large = random(3 * 1024 * 1024 + 17);
const files = scratch();
let tracker: FakeTracker;
let node: Awaited<ReturnType<typeof startTestNode>>;

beforeAll(async () => {
  tracker = await startFakeTracker();
  node = await startTestNode({ tracker, directory: files.path });
  for (const [fid, bytes] of [
    [1, small],
    [2, large],
    [3, Buffer.alloc(0)],
  ] as const) {
    expect((await node.put(fid, bytes)).status).toBe(201);
  }
});
afterAll(async () => {
  await node.stop();
  await tracker.stop();
  files.remove();
});

/** Bytes that somebody or something put on the disk behind the node's back. */
function plant(fid: number, bytes: Uint8Array): void {
  const path = join(node.paths[0] as string, blobPath(fid));
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
}
const told = (fid: number, kind: string) =>
  until(() =>
    tracker.heartbeats.some(({ findings }) =>
      findings.some((f) => f.dev === 1 && f.fid === fid && f.kind === kind),
    ),
  );

describe('GET and HEAD', () => {
  it('send the headers of the ticket, the digest as ETag and the length', async () => {
    const modified = 'Sun, 06 Nov 1994 08:49:37 GMT';
    const headers = { 'content-type': 'image/png', 'last-modified': modified, 'cache-control': 'no-cache' };
    for (const [fid, bytes] of [
      [1, small],
      [2, large],
    ] as const) {
      for (const method of ['GET', 'HEAD']) {
        const answer = await fetch(node.getUrl(fid, bytes, headers), { method });
        expect(answer.status).toBe(200);
        expect(Object.fromEntries(answer.headers)).toMatchObject({
          ...headers,
          etag: `"${sha256(bytes)}"`,
          'content-length': String(bytes.length),
          'accept-ranges': 'bytes',
        });
        const body = Buffer.from(await answer.arrayBuffer());
        expect(body.equals(method === 'GET' ? bytes : Buffer.alloc(0))).toBe(true);
      }
    }
  });

  it('serve ranges of small and large blobs', async () => {
    for (const [fid, bytes] of [
      [1, small],
      [2, large],
    ] as const) {
      for (const [range, start, end] of [
        ['bytes=10-19', 10, 20],
        ['bytes=-7', bytes.length - 7, bytes.length],
        [`bytes=900-${bytes.length}`, 900, bytes.length],
      ] as const) {
        const answer = await node.get(fid, bytes, { range });
        expect(answer.status).toBe(206);
        expect(answer.headers.get('content-range')).toBe(`bytes ${start}-${end - 1}/${bytes.length}`);
        expect(Buffer.from(await answer.arrayBuffer()).equals(bytes.subarray(start, end))).toBe(true);
      }
      const several = await node.get(fid, bytes, { range: 'bytes=0-9,100-199' });
      expect(several.headers.get('content-type')).toMatch(/^multipart\/byteranges/);
      const body = Buffer.from(await several.arrayBuffer());
      expect(body.length).toBe(Number(several.headers.get('content-length')));
      expect(body.includes(bytes.subarray(100, 200))).toBe(true);
      const beyond = await node.get(fid, bytes, { range: `bytes=${bytes.length}-` });
      expect(beyond.status).toBe(416);
      expect(beyond.headers.get('content-range')).toBe(`bytes */${bytes.length}`);
    }
    expect((await node.get(3, Buffer.alloc(0), { range: 'bytes=0-' })).status).toBe(416);
    expect((await node.get(3, Buffer.alloc(0))).status).toBe(200);
  });

  it('answer conditions, and If-Range with the whole when it names another file', async () => {
    const etag = `"${sha256(small)}"`;
    expect((await node.get(1, small, { 'if-none-match': etag })).status).toBe(304);
    expect((await node.get(1, small, { 'if-match': '"other"' })).status).toBe(412);
    expect((await node.get(1, small, { range: 'bytes=0-1', 'if-range': etag })).status).toBe(206);
    expect((await node.get(1, small, { range: 'bytes=0-1', 'if-range': '"other"' })).status).toBe(200);
  });

  it('need a ticket for that very blob', async () => {
    const ticket = sign({ op: 'get', dev: 1, fid: 2, size: small.length, sha256: sha256(small) });
    expect((await fetch(node.at(1, 1, ticket))).status).toBe(403);
    expect((await fetch(node.at(1, 1, ''))).status).toBe(403);
    const used = new URL(node.getUrl(2, large)).searchParams.get('ticket') ?? '';
    expect((await fetch(node.at(1, 2, used), { method: 'HEAD' })).status).toBe(200);
    expect((await fetch(node.at(1, 1, used))).status).toBe(403);
    expect(
      (await fetch(node.at(7, 1, sign({ op: 'get', dev: 7, fid: 1, size: 1, sha256: '' })))).status,
    ).toBe(503);
  });
});

describe('a bad replica', () => {
  it('is never sent when it is small: not the wrong bytes, not a shorter or a longer file', async () => {
    const wrong = Buffer.from(small);
    wrong[500] = ~(wrong[500] as number);
    for (const [fid, bytes] of [
      [10, wrong],
      [11, small.subarray(1)],
      [12, Buffer.concat([small, Buffer.alloc(1)])],
    ] as const) {
      plant(fid, bytes);
      for (const headers of [{}, { range: 'bytes=0-9' }]) {
        const answer = await node.get(fid, small, headers);
        expect(answer.status).toBe(500);
        expect(await answer.text()).toContain('replica-corrupt');
        expect(answer.headers.get('etag')).toBeNull();
      }
      await told(fid, 'corrupt');
    }
  });

  it('is never sent to its end when it is large', async () => {
    const wrong = Buffer.from(large);
    wrong[5] = ~(wrong[5] as number);
    plant(20, wrong);
    await expect(node.get(20, large).then((answer) => answer.arrayBuffer())).rejects.toThrow();
    await told(20, 'corrupt');
    plant(21, large.subarray(1));
    expect((await node.get(21, large)).status).toBe(500);
    await told(21, 'corrupt');
  });

  it('has no range sent of a block that is wrong; the others are', async () => {
    expect((await node.put(22, large)).status).toBe(201);
    const path = join(node.paths[0] as string, blobPath(22));
    const MiB = 1024 * 1024;
    const wrong = Buffer.from(large);
    wrong[2 * MiB + 500_000] = ~(wrong[2 * MiB + 500_000] as number);
    writeFileSync(path, wrong);
    const ranged = async (start: number, end: number) => {
      const answer = await node.get(22, large, { range: `bytes=${start}-${end - 1}` });
      expect(answer.status).toBe(206);
      const chunks: Uint8Array[] = [];
      const reading = (async () => {
        for await (const chunk of answer.body ?? []) chunks.push(chunk);
      })();
      const whole = await reading.then(
        () => true,
        () => false,
      );
      return { whole, bytes: Buffer.concat(chunks) };
    };
    for (const [start, end] of [
      [10, 20],
      [MiB - 5, MiB + 5],
      [0, 2 * MiB],
      [3 * MiB, 3 * MiB + 17],
    ] as const) {
      expect(await ranged(start, end)).toEqual({ whole: true, bytes: large.subarray(start, end) });
    }
    // The bytes that are asked for are right, but their block is not.
    const { whole, bytes } = await ranged(MiB + 7, 2 * MiB + 9);
    expect(whole).toBe(false);
    expect(bytes.equals(large.subarray(MiB + 7, 2 * MiB).subarray(0, bytes.length))).toBe(true);
    await told(22, 'corrupt');
  });

  it('is 404 and told to the tracker when it is missing', async () => {
    const answer = await node.get(30, small);
    expect(answer.status).toBe(404);
    expect(await answer.text()).toContain('replica-missing');
    expect((await fetch(node.getUrl(31, large), { method: 'HEAD' })).status).toBe(404);
    await told(30, 'missing');
    await told(31, 'missing');
  });

  it('is told in one heartbeat, not in each', async () => {
    await node.get(32, small);
    await told(32, 'missing');
    const before = tracker.heartbeats.length;
    await until(() => tracker.heartbeats.length > before + 2);
    expect(tracker.heartbeats.slice(before + 1).flatMap(({ findings }) => findings)).toEqual([]);
  });
});

describe('the cache', () => {
  it('serves small blobs without the disk, but never one that was deleted', async () => {
    expect((await node.put(40, small)).status).toBe(201);
    expect((await node.get(40, small)).status).toBe(200);
    rmSync(join(node.paths[0] as string, blobPath(40)));
    expect((await node.get(40, small)).status).toBe(200);
    plant(40, small);
    expect((await node.remove(40)).status).toBe(204);
    expect((await node.get(40, small)).status).toBe(404);
  });

  it('does not serve bytes of another digest', async () => {
    expect((await node.get(1, small)).status).toBe(200);
    expect((await node.get(1, random(small.length))).status).toBe(500);
  });
});
