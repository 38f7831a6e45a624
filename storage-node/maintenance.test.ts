import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { Inventory } from '../services/protocol.ts';
import { partIsGenuine, type Receipt } from '../services/tickets.ts';
import { blobDirectory, blobPath } from './layout.ts';
import { binding, keyring, random, sha256, sign, startPair, startTestNode, until } from './testing.ts';

const small = random(1000);
const large = random(2 * 1024 * 1024 + 3);
const { files, tracker, node, other: source, stop } = await startPair();
afterAll(stop);

const report = (dev: number) =>
  tracker.heartbeats.findLast(({ host }) => host === 'h1')?.devices.find(({ id }) => id === dev);

describe('DELETE', () => {
  it('removes a blob, and says 404 when there is none', async () => {
    expect((await node.put(1, small)).status).toBe(201);
    expect((await node.remove(1)).status).toBe(204);
    expect((await node.remove(1)).status).toBe(404);
    expect((await node.get(1, small)).status).toBe(404);
    expect((await node.put(1, large)).status).toBe(201);
  });
});

describe('copy', () => {
  const order = (fid: number, bytes: Uint8Array, sources: string[]) =>
    fetch(
      node.at(
        1,
        fid,
        sign({ op: 'copy', dev: 1, fid, size: bytes.length, sha256: sha256(bytes), ...binding }),
        '/copy',
      ),
      {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ sources }),
      },
    );
  const put = (fid: number, bytes: Uint8Array<ArrayBuffer>) =>
    fetch(source.putUrl(fid, { dev: 3 }), { method: 'PUT', body: bytes });
  const at = (fid: number) => join(node.paths[0] as string, blobPath(fid));

  it.each([
    ['small', 101, small],
    ['large', 102, large],
    ['empty', 103, Buffer.alloc(0)],
  ])('pulls a %s blob, passing over sources that fail, and may be repeated', async (_name, fid, bytes) => {
    expect((await put(fid, bytes)).status).toBe(201);
    const sends = (size: number) =>
      createServer((_, answer) => answer.end(random(size))).listen(0, '127.0.0.1');
    const liars = bytes.length === 0 ? [sends(1)] : [sends(bytes.length), sends(bytes.length + 1)];
    const hangsUp = createServer((_request, answer) => {
      answer.writeHead(200, { 'content-length': String(bytes.length) });
      answer.write(bytes.subarray(0, bytes.length / 2), () => answer.destroy());
    }).listen(0, '127.0.0.1');
    await until(() => [...liars, hangsUp].every(({ listening }) => listening));
    const urls = [...liars, hangsUp].map(
      (server) => `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    );
    const good = source.getUrl(fid, bytes, {}, 3);
    const missing = source.getUrl(999, bytes, {}, 3);
    const answer = await order(fid, bytes, ['http://127.0.0.1:9', missing, ...urls, good]);
    expect(answer.status).toBe(201);
    const receipt = (await answer.json()) as Receipt;
    const [part] = receipt.parts;
    if (part === undefined) throw new Error('no part');
    expect(partIsGenuine(keyring.nodeKeys('h1', part.session), receipt, part)).toBe(true);
    expect(readFileSync(at(fid)).equals(bytes)).toBe(true);
    expect((await order(fid, bytes, ['http://127.0.0.1:9'])).status).toBe(200);
    for (const server of [...liars, hangsUp]) server.close();
  });

  it('says what each source did when none is good, without its ticket', async () => {
    const ticketed = source.getUrl(110, small, {}, 3);
    const answer = await order(110, small, [ticketed, 'http://127.0.0.1:9/x?ticket=secret', 'nonsense']);
    expect(answer.status).toBe(503);
    const text = await answer.text();
    expect(text).toContain('no-good-replica');
    expect(text).toContain('it answered 404');
    expect(text).not.toContain('ticket=');
  });

  it('refuses to take other bytes for those that are there', async () => {
    expect((await node.put(111, small)).status).toBe(201);
    expect((await order(111, large, ['http://127.0.0.1:9'])).status).toBe(409);
  });
});

describe('verify', () => {
  const verify = (fid: number) =>
    fetch(node.at(1, fid, sign({ op: 'verify', dev: 1, fid }), '/verify'), { method: 'POST' });

  it('tells what is on the disk now, whatever is in memory', async () => {
    expect((await node.put(201, small)).status).toBe(201);
    expect((await node.get(201, small)).status).toBe(200);
    expect(await (await verify(201)).json()).toEqual({ size: 1000, sha256: sha256(small) });
    const other = random(1001);
    writeFileSync(join(node.paths[0] as string, blobPath(201)), other);
    expect(await (await verify(201)).json()).toEqual({ size: 1001, sha256: sha256(other) });
    expect((await node.get(201, small)).status).toBe(500);
    expect((await verify(202)).status).toBe(404);
  });
});

describe('inventory', () => {
  const page = async (after: number, limit: number) => {
    const ticket = sign({ op: 'inventory', dev: 2 });
    const answer = await fetch(`${node.url}/devices/2/blobs?after=${after}&limit=${limit}&ticket=${ticket}`);
    expect(answer.status).toBe(200);
    return (await answer.json()) as Inventory;
  };

  it('pages through all fids in numeric order, and passes over foreign files', async () => {
    const root = node.paths[1] as string;
    const fids = [1, 2, 999, 1000, 1_000_000, 999_999_999, 1_000_000_000, 10_000_000_000, 12_345_678_901];
    for (const fid of fids) {
      mkdirSync(join(root, blobDirectory(fid)), { recursive: true });
      writeFileSync(join(root, blobPath(fid)), Buffer.alloc(fid % 7));
    }
    const foreign = [
      '0/000/000/README',
      '0/000/000/0000001001.fid',
      '0/000/000/5.fid',
      '0/notes',
      'lost+found',
    ];
    for (const name of foreign) writeFileSync(join(root, name), 'x');
    for (const limit of [1, 2, 4, 100]) {
      const seen: number[] = [];
      for (let after: number | undefined = 0; after !== undefined; ) {
        const { blobs, next }: Inventory = await page(after, limit);
        for (const { fid, size } of blobs) expect(size).toBe(fid % 7);
        seen.push(...blobs.map(({ fid }) => fid));
        after = next;
      }
      expect(seen).toEqual(fids);
    }
    expect((await page(999, 1)).blobs[0]?.fid).toBe(1000);
  });

  it('refuses a page that is no page', async () => {
    const ticket = sign({ op: 'inventory', dev: 2 });
    for (const query of ['limit=0', 'limit=10001', 'after=-1', 'after=x', 'color=red']) {
      expect((await fetch(`${node.url}/devices/2/blobs?${query}&ticket=${ticket}`)).status).toBe(400);
    }
  });
});

describe('what a heartbeat tells', () => {
  it('counts blobs and knows the highest fid, from before the start and since', async () => {
    const directory = join(files.path, 'h4');
    const options = { tracker, directory, devices: [4], env: { CISTERN_HOST: 'h4' } };
    const last = () => tracker.heartbeats.findLast(({ host }) => host === 'h4')?.devices[0];
    let counted = await startTestNode(options);
    const put = (fid: number) => fetch(counted.putUrl(fid, { dev: 4 }), { method: 'PUT', body: small });
    for (const fid of [5, 5000, 70]) expect((await put(fid)).status).toBe(201);
    await until(() => last()?.blobs === 3 && last()?.highestFid === 5000);
    await counted.stop();
    counted = await startTestNode(options);
    await until(() => last()?.blobs === 3 && last()?.highestFid === 5000);
    expect((await counted.remove(70, 4)).status).toBe(204);
    expect((await put(6000)).status).toBe(201);
    expect((await put(6000)).status).toBe(200);
    await until(() => last()?.blobs === 3 && last()?.highestFid === 6000);
    await counted.stop();
  });

  it('tells space and condition', async () => {
    await until(() => report(1) !== undefined);
    expect(report(1)).toMatchObject({ condition: 'ok', errors: 0 });
    expect(report(1)?.total).toBeGreaterThan(report(1)?.free ?? 0);
    rmSync(join(files.path, 'h4'), { recursive: true });
  });
});
