import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { BatchEntry } from '../services/protocol.ts';
import { blobPath } from './layout.ts';
import { binding, random, sha256, sign, startPair } from './testing.ts';

const { node, stop } = await startPair();
afterAll(stop);

const pathOf = (dev: number, fid: number) => join(node.paths[dev - 1] as string, blobPath(fid));
const blob = (fid: number, bytes: Buffer, more: Partial<BatchEntry> = {}) => ({
  entry: { dev: 1, fid, size: bytes.length, ...binding, ...more },
  bytes,
});

/** Sends a batch; `change` may alter its body after the manifest was signed. */
async function send(blobs: ReturnType<typeof blob>[], change = (body: Buffer): Buffer => body) {
  const manifest = Buffer.from(JSON.stringify(blobs.map(({ entry }) => entry)));
  const body = Buffer.concat([manifest, ...blobs.map(({ bytes }) => bytes)]);
  const of = { size: body.length, manifest: manifest.length, sha256: sha256(manifest) };
  const ticket = sign({ op: 'put-many', ...of });
  const sent = new Uint8Array(change(body));
  return await fetch(`${node.url}/put-many?ticket=${ticket}`, { method: 'POST', body: sent });
}

const refusal = (problem: string) => expect.objectContaining({ type: `urn:cistern:problem:${problem}` });

describe('a batch', () => {
  it('stores each blob on its device, and answers for each in order', async () => {
    const [a, b, empty] = [random(1_000), random(70_000), Buffer.alloc(0)] as const;
    const answer = await send([blob(1, a), blob(2, b, { dev: 2 }), blob(3, empty)]);
    expect(answer.status).toBe(200);
    expect(await answer.json()).toEqual([a, b, empty].map((is) => ({ size: is.length, sha256: sha256(is) })));
    expect(readFileSync(pathOf(1, 1)).equals(a)).toBe(true);
    expect(readFileSync(pathOf(2, 2)).equals(b)).toBe(true);
    expect(readFileSync(pathOf(1, 3))).toHaveLength(0);
  });

  it('refuses single blobs, and stores the others', async () => {
    const [old, good] = [random(500), random(500)];
    await send([blob(10, old)]);
    const answer = await send([
      blob(10, random(500)),
      blob(11, random(500), { sha256: sha256(old) }),
      blob(12, good, { sha256: sha256(good) }),
      blob(13, good, { dev: 9 }),
      blob(10, old),
    ]);
    const [conflict, mismatch, stored, nowhere, again] = (await answer.json()) as object[];
    expect(conflict).toEqual(refusal('blob-differs'));
    expect(mismatch).toEqual(refusal('digest-mismatch'));
    expect(stored).toEqual({ size: 500, sha256: sha256(good) });
    expect(nowhere).toEqual(refusal('device-unavailable'));
    expect(again).toEqual({ size: 500, sha256: sha256(old) });
    expect(readFileSync(pathOf(1, 10)).equals(old)).toBe(true);
    expect(existsSync(pathOf(1, 11))).toBe(false);
    expect(readFileSync(pathOf(1, 12)).equals(good)).toBe(true);
  });

  it('is refused as a whole if its manifest is not the one that the ticket signs', async () => {
    const other = (body: Buffer) =>
      Buffer.from(body.toString('latin1').replace('"fid":20', '"fid":21'), 'latin1');
    const answer = await send([blob(20, random(500))], other);
    expect(answer.status).toBe(403);
    expect(await answer.json()).toEqual(refusal('ticket-refused'));
    expect([20, 21].map((fid) => existsSync(pathOf(1, fid)))).toEqual([false, false]);
  });

  it('is refused as a whole if bytes are missing, or there are more', async () => {
    const two = [blob(30, random(500)), blob(31, random(500))];
    const short = await send(two, (body) => body.subarray(0, -1));
    expect(await short.json()).toEqual(refusal('truncated-body'));
    const long = await send(two, (body) => Buffer.concat([body, body]));
    expect(await long.json()).toEqual(refusal('body-too-large'));
    expect([30, 31].map((fid) => existsSync(pathOf(1, fid)))).toEqual([false, false]);
  });
});
