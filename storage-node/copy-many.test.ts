// Many small blobs with one order: all that can be copied is, the rest is named, and no wrong byte is stored.
import { hash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CopiedMany, CopyManyOrder } from '../services/protocol.ts';
import { framesOf, HEAD, writeHead } from './frames.ts';
import { blobPath } from './layout.ts';
import { binding, random, sha256, sign, startPair } from './testing.ts';

let pair: Awaited<ReturnType<typeof startPair>>;
const blobs = new Map<number, Buffer<ArrayBuffer>>();

beforeAll(async () => {
  pair = await startPair();
  for (let fid = 1; fid <= 60; fid++) {
    const bytes = random(fid === 7 ? 0 : fid * 997);
    blobs.set(fid, bytes);
    expect((await pair.node.put(fid, bytes)).status).toBe(201);
  }
});
afterAll(() => pair.stop());

const pathOf = (fid: number, root = pair.other.paths[0] as string) => join(root, blobPath(fid));

function orderOf(fids: number[], more: { url?: string; size?: number } = {}): CopyManyOrder {
  const asked = fids.map((fid): [number, number] => [fid, blobs.get(fid)?.length ?? 10]);
  const ticket = sign({ op: 'read-many', dev: 1, blobs: asked });
  const named = asked.map(([fid, size]) => {
    const { domain, key, class: className } = binding;
    return { fid, size, sha256: sha256(blobs.get(fid) ?? Buffer.alloc(10)), domain, key, class: className };
  });
  return {
    sources: [{ url: more.url ?? `${pair.node.url}/devices/1/contents?ticket=${ticket}`, blobs: named }],
  };
}

async function order(body: CopyManyOrder, signed = body) {
  const ticket = sign({ op: 'copy-many', dev: 3, order: hash('sha256', JSON.stringify(signed)) });
  const answer = await fetch(`${pair.other.url}/devices/3/copies?ticket=${ticket}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: answer.status, body: (await answer.json()) as CopiedMany };
}

const fidsOf = (some: { fid: number }[]) => some.map(({ fid }) => fid).sort((a, b) => a - b);
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

describe('an order for many blobs', () => {
  it('stores all of them, whatever their size', async () => {
    const { status, body } = await order(orderOf(upTo(50)));
    expect(status).toBe(200);
    expect(body.failed).toEqual([]);
    expect(fidsOf(body.copied)).toEqual(upTo(50));
    for (const fid of upTo(50)) expect(readFileSync(pathOf(fid)).equals(blobs.get(fid) as Buffer)).toBe(true);
  });

  it('may be repeated', async () => {
    expect(fidsOf((await order(orderOf([1, 2]))).body.copied)).toEqual([1, 2]);
  });

  it('names what its source does not have or cannot give right, and stores the rest', async () => {
    const source = pair.node.paths[0] as string;
    rmSync(pathOf(51, source));
    const spoilt = Buffer.from(blobs.get(52) as Buffer);
    spoilt.writeUInt8(spoilt.readUInt8(100) ^ 1, 100);
    writeFileSync(pathOf(52, source), spoilt);
    writeFileSync(pathOf(53, source), 'shorter');
    const { body } = await order(orderOf([51, 52, 53, 54, 55]));
    expect(fidsOf(body.copied)).toEqual([54, 55]);
    expect(fidsOf(body.failed)).toEqual([51, 52, 53]);
    for (const fid of [51, 52, 53]) expect(existsSync(pathOf(fid))).toBe(false);
    expect(body.failed.find(({ fid }) => fid === 52)?.why).toContain('other bytes');
  });

  it('fails blob by blob if its source is away', async () => {
    const { body } = await order(orderOf([56, 57], { url: 'http://127.0.0.1:9/x' }));
    expect(body.copied).toEqual([]);
    expect(fidsOf(body.failed)).toEqual([56, 57]);
    expect(body.failed[0]?.why).toContain('127.0.0.1:9');
  });

  it('is refused if the ticket is for another order', async () => {
    expect((await order(orderOf([58]), orderOf([59]))).status).toBe(403);
    expect(existsSync(pathOf(58))).toBe(false);
  });

  it('never overwrites', async () => {
    const before = blobs.get(60) as Buffer<ArrayBuffer>;
    writeFileSync(pathOf(60), 'other bytes under this fid');
    const { body } = await order(orderOf([60]));
    expect(fidsOf(body.failed)).toEqual([60]);
    expect(readFileSync(pathOf(60), 'utf8')).toBe('other bytes under this fid');
    expect(before.length).toBeGreaterThan(0);
  });
});

describe('frames', () => {
  const frameHead = (fid: number, bytes: Buffer | undefined) => {
    const head = Buffer.alloc(HEAD);
    writeHead(head, 0, fid, bytes?.length);
    return head;
  };
  const sizes = new Map([
    [1, 5],
    [2, 0],
    [9_007_199_254_740_991, 3],
  ]);
  const whole = Buffer.concat([
    frameHead(1, Buffer.from('hello')),
    Buffer.from('hello'),
    frameHead(2, Buffer.alloc(0)),
    frameHead(3, undefined),
    frameHead(9_007_199_254_740_991, Buffer.from('end')),
    Buffer.from('end'),
  ]);
  async function parse(bytes: Buffer, step: number): Promise<string[]> {
    async function* chunks() {
      for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step);
    }
    const found: string[] = [];
    for await (const { fid, pieces } of framesOf(chunks(), (fid) => sizes.get(fid))) {
      found.push(`${fid} ${pieces === undefined ? 'unreadable' : Buffer.concat(pieces)}`);
    }
    return found;
  }

  it.each([1, 3, 16, 17, 1000])('are found wherever the body is cut (%i)', async (step) => {
    const expected = ['1 hello', '2 ', '3 unreadable', '9007199254740991 end'];
    expect(await parse(whole, step)).toEqual(expected);
  });

  it('are refused if the body ends within one, or one has another size than was asked for', async () => {
    await expect(parse(whole.subarray(0, -1), 7)).rejects.toThrow('broke off');
    await expect(parse(whole.subarray(0, 10), 7)).rejects.toThrow('broke off');
    await expect(parse(frameHead(1, Buffer.alloc(6)), 7)).rejects.toThrow('something else');
    await expect(parse(frameHead(4, Buffer.alloc(6)), 7)).rejects.toThrow('something else');
  });
});
