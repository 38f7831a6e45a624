// No route of the node does anything without a ticket of this cluster that is for it, for this device and blob, and valid.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Keyring, type Ticket } from '../services/tickets.ts';
import { binding, keyring, random, sha256, sign, startPair } from './testing.ts';

const { node, stop } = await startPair();
afterAll(stop);

const bytes = random(1_000);
const digest = sha256(bytes);
beforeAll(async () => {
  expect((await node.put(1, bytes)).status).toBe(201);
});

/** A ticket, but for when it expires. */
type Permission = Record<string, unknown> & { op: Ticket['op'] };
interface Route {
  method: string;
  path: string;
  permission: Permission;
  /** Fields of the ticket that say what it is for: with another value it must not do. */
  names: string[];
  body?: object | Uint8Array<ArrayBuffer>;
}

const blob = { dev: 1, fid: 1 };
const nowhere = 'http://127.0.0.1:1/none';
const order = {
  sources: [{ url: nowhere, blobs: [{ fid: 2, size: bytes.length, sha256: digest, ...binding }] }],
};
const routes: Route[] = [
  ['PUT', '/devices/1/blobs/1', { op: 'put', ...blob, max: 2_000, ...binding }, ['dev', 'fid'], bytes],
  ['GET', '/devices/1/blobs/1', { op: 'get', ...blob, size: bytes.length, sha256: digest }, ['dev', 'fid']],
  ['HEAD', '/devices/1/blobs/1', { op: 'get', ...blob, size: bytes.length, sha256: digest }, ['dev', 'fid']],
  ['POST', '/devices/1/blobs/1/verify', { op: 'verify', ...blob }, ['dev', 'fid']],
  [
    'POST',
    '/devices/1/blobs/1/copy',
    { op: 'copy', ...blob, size: bytes.length, sha256: digest, ...binding },
    ['dev', 'fid'],
    { sources: [nowhere] },
  ],
  [
    'POST',
    '/devices/1/copies',
    { op: 'copy-many', dev: 1, order: sha256(Buffer.from(JSON.stringify(order))) },
    ['dev', 'order'],
    order,
  ],
  ['GET', '/devices/1/contents', { op: 'read-many', dev: 1, blobs: [[1, bytes.length]] }, ['dev']],
  ['GET', '/devices/1/blobs', { op: 'inventory', dev: 1 }, ['dev']],
  ['GET', '/devices/1/journal', { op: 'journal', dev: 1 }, ['dev']],
  ['POST', '/devices/1/check', { op: 'check', dev: 1 }, ['dev']],
  ['GET', '/devices', { op: 'devices' }, []],
  ['GET', '/devices/1/backups', { op: 'backup', dev: 1 }, ['dev', 'name']],
  ['PUT', '/devices/1/backups/a', { op: 'backup', dev: 1, name: 'a', max: 2_000 }, ['dev', 'name'], bytes],
  ['GET', '/devices/1/backups/a', { op: 'backup', dev: 1, name: 'a' }, ['dev', 'name']],
  ['DELETE', '/devices/1/backups/a', { op: 'backup', dev: 1, name: 'a' }, ['dev', 'name']],
  [
    'POST',
    '/put-many',
    { op: 'put-many', size: 2, manifest: 2, sha256: sha256(Buffer.from('[]')) },
    ['sha256'],
    Buffer.from('[]'),
  ],
  // At last, as it removes what the others are about.
  ['DELETE', '/devices/1/blobs/1', { op: 'delete', ...blob }, ['dev', 'fid']],
].map(([method, path, permission, names, body]) => ({ method, path, permission, names, body }) as Route);

async function ask({ method, path, body }: Route, ticket: string | undefined) {
  const plain = body === undefined || body instanceof Uint8Array;
  const answer = await fetch(`${node.url}${path}${ticket === undefined ? '' : `?ticket=${ticket}`}`, {
    method,
    ...(body === undefined ? {} : { body: plain ? (body as Uint8Array<ArrayBuffer>) : JSON.stringify(body) }),
    ...(plain ? {} : { headers: { 'content-type': 'application/json' } }),
  });
  const text = await answer.text();
  const refused =
    method === 'HEAD' ? answer.status === 403 : text.includes('urn:cistern:problem:ticket-refused');
  return { status: answer.status, refused };
}

describe.each(routes)('$method $path', (route) => {
  const { permission, names } = route;
  const exp = Date.now() + 60_000;
  const signed = (more: object) => sign({ ...permission, ...more } as never);
  const refused = { status: 403, refused: true };

  it('is refused without a ticket, and with one that is none', async () => {
    expect(await ask(route, undefined)).toEqual(refused);
    expect(await ask(route, '')).toEqual(refused);
    expect(await ask(route, 'nonsense')).toEqual(refused);
  });

  it('is refused with a ticket that was altered, has expired, or is of another cluster', async () => {
    const [payload, signature] = signed({}).split('.');
    const altered = Buffer.from(JSON.stringify({ ...permission, exp: exp + 1 })).toString('base64url');
    expect(await ask(route, `${altered}.${signature}`)).toEqual(refused);
    expect(await ask(route, `${payload}.`)).toEqual(refused);
    expect(await ask(route, keyring.sign({ ...permission, exp: Date.now() - 10_000 } as never))).toEqual(
      refused,
    );
    const foreign = new Keyring('the key of another cluster, as long as ours');
    expect(await ask(route, foreign.sign({ ...permission, exp } as never))).toEqual(refused);
  });

  it('is refused with a ticket for another operation, device or blob', async () => {
    for (const op of new Set(routes.map((other) => other.permission.op))) {
      if (op !== permission.op) expect([op, await ask(route, signed({ op }))]).toEqual([op, refused]);
    }
    for (const name of names) {
      const value = typeof permission[name] === 'number' ? 2 : 'another';
      expect([name, await ask(route, signed({ [name]: value }))]).toEqual([name, refused]);
    }
  });

  it('is done, or fails for another reason, with the ticket for it', async () => {
    expect((await ask(route, signed({}))).refused).toBe(false);
  });
});
