// The nginx on a web head that keeps TLS connections to trackers open behind a Unix socket.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { lacksProgram, needs } from './support/needs.ts';
import { webConfiguration } from './support/web-configuration.ts';
import { lacksWebServers, WebHead } from './support/web-head.ts';

const lack = lacksWebServers() ?? lacksProgram('openssl');
const NAME = 'trackers.example.com';
const root = mkdtempSync(join(tmpdir(), 'cistern-pool-'));
const socketPath = join(root, 'head/run/trackers.sock');
const trackers: Server[] = [];
/** What reached the trackers: method, tracker, and the bytes of the body. */
let seen: { method: string; tracker: number; bytes: number }[] = [];
let connections = 0;
let head: WebHead;

beforeAll(async () => {
  if (lack !== undefined) return;
  chmodSync(root, 0o755);
  const [key, certificate] = [join(root, 'key.pem'), join(root, 'certificate.pem')];
  const subject = ['-subj', `/CN=${NAME}`, '-addext', `subjectAltName=DNS:${NAME}`];
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', certificate, ...subject],
    { stdio: 'pipe' },
  );
  for (const tracker of [0, 1]) trackers.push(await startTracker(tracker, key, certificate));
  head = new WebHead({ name: 'head', directory: join(root, 'head'), documentRoot: root });
  const words = {
    CISTERN_TRACKER: trackers.map((server) => `127.0.0.1:${(server.address() as AddressInfo).port}`),
    CISTERN_NAME: NAME,
    CISTERN_CA: certificate,
    CISTERN_SOCKET: socketPath,
  };
  await head.startNginx('pool', '', webConfiguration('nginx/cistern-pool.conf', words));
});
beforeEach((context) => {
  needs(context, lack);
  seen = [];
});
afterAll(async () => {
  await head?.stop();
  for (const tracker of trackers) tracker.close();
  rmSync(root, { recursive: true, force: true });
});

/** A stand-in for a tracker that answers what it got, or, at `/cut`, reads all and hangs up without an answer. */
async function startTracker(tracker: number, key: string, certificate: string): Promise<Server> {
  const tls = { key: readFileSync(key), cert: readFileSync(certificate) };
  const server = createServer(tls, async (request, response) => {
    const { length: bytes } = await buffer(request);
    const { method = '', url, headers } = request;
    seen.push({ method, tracker, bytes });
    if (url === '/cut') request.socket.destroy();
    else response.end(JSON.stringify({ host: headers.host, authorization: headers.authorization, bytes }));
  });
  server.on('secureConnection', () => connections++);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

async function ask(method: string, path: string, body = ''): Promise<{ status: number; text: string }> {
  const asked = request({
    socketPath,
    method,
    path,
    agent: false,
    headers: { authorization: 'Bearer mine' },
  });
  asked.end(body);
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  return { status: answer.statusCode ?? 0, text: await text(answer) };
}

it('hands requests on over connections that stay open', async () => {
  await ask('GET', '/');
  const before = connections;
  for (let i = 0; i < 20; i++) {
    const { status, text } = await ask('PUT', '/v1/x', 'body');
    expect([status, JSON.parse(text)]).toEqual([200, { host: NAME, authorization: 'Bearer mine', bytes: 4 }]);
  }
  // Each of nginx's two processes keeps its own connections to the two trackers.
  expect(connections - before).toBeLessThanOrEqual(4);
});

it('asks another tracker when one hangs up on a read, but never sends a write twice', async () => {
  expect((await ask('GET', '/cut')).status).toBe(502);
  expect(seen.map(({ tracker }) => tracker).sort()).toEqual([0, 1]);
  await recovered();
  for (const method of ['PUT', 'POST', 'PATCH', 'DELETE']) {
    seen = [];
    expect((await ask(method, '/cut', 'body')).status).toBe(502);
    expect(seen).toHaveLength(1);
    await recovered();
  }
});

it('lets a large body through whole', async () => {
  const body = 'x'.repeat(20 * 1024 * 1024);
  expect(JSON.parse((await ask('PUT', '/v1/x', body)).text)).toMatchObject({ bytes: body.length });
});

/** Waits until nginx asks the trackers again that it has just seen fail. */
async function recovered(): Promise<void> {
  await expect.poll(async () => (await ask('GET', '/')).status, { timeout: 10_000 }).toBe(200);
}
