// The gateway of the containers, with stand-ins for trackers: what it asks again, and what it never sends twice.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { freePort } from '../ops/up/ports.ts';
import { lacksProgram, needs } from './support/needs.ts';
import { waitFor } from './support/wait.ts';

const lack = lacksProgram('nginx');
const root = mkdtempSync(join(tmpdir(), 'cistern-gateway-'));
const trackers: Server[] = [];
/** What reached the trackers. */
let seen: { method: string; tracker: number; bytes: number }[] = [];
let nginx: ChildProcess;
let url: string;

/** Answers what it got, or, at `/cut`, reads all and hangs up without an answer. */
async function startTracker(tracker: number): Promise<string> {
  const server = createServer(async (request, response) => {
    const { length: bytes } = await buffer(request);
    seen.push({ method: request.method ?? '', tracker, bytes });
    if (request.url === '/cut') request.socket.destroy();
    else response.end('done');
  });
  trackers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Its configuration, at another place, and with a group of addresses instead of a name that Docker resolves. */
function configuration(port: number, addresses: string[]): string {
  const group = addresses.map((address) => `server ${address} max_fails=0;`).join(' ');
  const changes: [string, string][] = [
    ['/tmp/', `${root}/`],
    ['worker_processes auto;', 'worker_processes 1; daemon off;'],
    ['listen 7500;', `listen 127.0.0.1:${port};`],
    ['trackers:7500', 'stand_ins'],
    ['http {', `http { upstream stand_ins { ${group} }`],
  ];
  let text = readFileSync('ops/containers/gateway/nginx.conf', 'utf8');
  for (const [from, to] of changes) {
    expect(text).toContain(from);
    text = text.replaceAll(from, to);
  }
  return text;
}

beforeAll(async () => {
  if (lack !== undefined) return;
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  const file = join(root, 'nginx.conf');
  writeFileSync(file, configuration(port, [await startTracker(0), await startTracker(1)]));
  nginx = spawn('nginx', ['-e', join(root, 'error.log'), '-c', file], { stdio: 'ignore' });
  const answers = () =>
    fetch(`${url}/gateway`).then(
      ({ ok }) => ok,
      () => false,
    );
  await waitFor(answers, { what: 'the gateway to answer' });
});
beforeEach((context) => {
  needs(context, lack);
  seen = [];
});
afterAll(async () => {
  if (nginx !== undefined) {
    nginx.kill('SIGTERM');
    await once(nginx, 'exit');
  }
  for (const tracker of trackers) tracker.close();
  rmSync(root, { recursive: true, force: true });
});

const cut = (method: string, headers: Record<string, string> = {}, body?: string) =>
  fetch(`${url}/cut`, { method, headers, ...(body === undefined ? {} : { body }) });
const repeatable = { 'idempotency-key': 'once' };

it('asks another tracker when one hangs up on a read', async () => {
  expect((await cut('GET')).status).toBe(502);
  expect(seen.map(({ tracker }) => tracker).sort()).toEqual([0, 1]);
});

it.each(['PUT', 'POST', 'PATCH', 'DELETE'])(
  'never sends a %s twice, of which the client does not say that it may be',
  async (method) => {
    expect((await cut(method, {}, 'body')).status).toBe(502);
    expect((await cut(method)).status).toBe(502);
    expect(seen.map(({ bytes }) => bytes)).toEqual([4, 0]);
  },
);

it('sends again what has an Idempotency-Key, whole, or not at all', async () => {
  for (const [method, body] of [
    ['POST', 'body'],
    ['PUT', 'body'],
    ['DELETE', undefined],
  ] as const) {
    seen = [];
    expect((await cut(method, repeatable, body)).status).toBe(502);
    const bytes = body?.length ?? 0;
    expect(seen).toEqual([0, 1].map(() => ({ method, bytes, tracker: expect.any(Number) })));
  }
  // What has passed through is not kept, so it cannot be sent again.
  seen = [];
  const large = 'x'.repeat(20 * 1024 * 1024);
  expect((await cut('PUT', repeatable, large)).status).toBe(502);
  expect(seen).toMatchObject([{ bytes: large.length }]);
});
