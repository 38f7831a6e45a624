// Who is trusted, who is refused, and what happens when the files change.
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createPlain, type Server } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { Agent, request } from 'undici';
import { afterAll, beforeAll, beforeEach, expect, it, onTestFinished } from 'vitest';
import { Authority } from '../test/support/certificates.ts';
import { lacksProgram, needs } from '../test/support/needs.ts';
import { waitFor } from '../test/support/wait.ts';
import { Tls, type TlsSettings } from './tls.ts';

const lack = lacksProgram('openssl');
const root = mkdtempSync(join(tmpdir(), 'cistern-tls-'));
let ours: Authority;
let foreign: Authority;

beforeAll(() => {
  if (lack !== undefined) return;
  ours = new Authority(root, 'ours');
  foreign = new Authority(root, 'foreign');
});
beforeEach((context) => needs(context, lack));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const settings = ({ cert, key }: { cert: string; key: string }, more: TlsSettings = {}): TlsSettings => ({
  CISTERN_TLS_CERT_FILE: cert,
  CISTERN_TLS_KEY_FILE: key,
  ...more,
});
const trusting = (authority: Authority): TlsSettings => ({ CISTERN_TLS_CA_FILE: authority.file });

/** A server that answers with the client certificate's name; `serial` is that of the server's own. */
async function serve(tls: Tls): Promise<string> {
  const answer = (socket: TLSSocket) => {
    const { subject } = socket.getPeerCertificate?.() ?? {};
    return String(subject?.CN ?? 'nobody');
  };
  const options = tls.listener();
  const server: Server =
    options === undefined
      ? createPlain((_, response) => response.end('plain'))
      : createServer(options, (incoming, response) => response.end(answer(incoming.socket as TLSSocket)));
  tls.watch(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    tls.close();
    server.close();
    server.closeAllConnections();
  });
  return `${tls.scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Asks once, on a connection of its own. */
async function ask(url: string, tls: Tls): Promise<string> {
  const dispatcher = new Agent({ connect: tls.connector(5_000) });
  try {
    return await (await request(url, { dispatcher })).body.text();
  } finally {
    await dispatcher.destroy();
  }
}

it('trusts the authorities that it was given, and no others', async () => {
  const url = await serve(new Tls(settings(ours.issue('server'))));
  expect(await ask(url, new Tls(trusting(ours)))).toBe('nobody');
  await expect(ask(url, new Tls(trusting(foreign)))).rejects.toThrow(/certificate/);
  await expect(ask(url, new Tls({}))).rejects.toThrow(/certificate/);
});

it('refuses a certificate for another name', async () => {
  const url = await serve(new Tls(settings(ours.issue('elsewhere', 'DNS:elsewhere.example'))));
  await expect(ask(url, new Tls(trusting(ours)))).rejects.toThrow(/IP: 127.0.0.1 is not in/);
});

it('asks for client certificates where that is set, and shows its own', async () => {
  const url = await serve(new Tls(settings(ours.issue('server'), { CISTERN_TLS_CLIENT_CA_FILE: ours.file })));
  const client = (authority: Authority) => settings(authority.issue('client'), trusting(ours));
  expect(await ask(url, new Tls(client(ours)))).toBe('client');
  await expect(ask(url, new Tls(trusting(ours)))).rejects.toThrow();
  await expect(ask(url, new Tls(client(foreign)))).rejects.toThrow();
});

it('speaks plain HTTP where nothing is set', async () => {
  expect(await ask(await serve(new Tls({})), new Tls({}))).toBe('plain');
});

it('takes a new authority and a new certificate while it runs, without being told', async () => {
  const bundle = join(root, 'bundle.pem');
  copyFileSync(ours.file, bundle);
  const { cert, key } = ours.issue('renewed');
  const tls = new Tls(settings({ cert, key }));
  const url = await serve(tls);
  const client = new Tls({ CISTERN_TLS_CA_FILE: bundle });
  expect(await ask(url, client)).toBe('nobody');

  const next = foreign.issue('renewed');
  copyFileSync(next.cert, cert);
  // For a moment certificate and key do not fit: the former ones stay in use.
  tls.reload();
  expect(await ask(url, client)).toBe('nobody');
  copyFileSync(next.key, key);
  await waitFor(async () => !(await ask(url, client).catch(() => undefined)), {
    what: 'the new certificate',
  });
  copyFileSync(foreign.file, bundle);
  client.reload();
  expect(await ask(url, client)).toBe('nobody');
});

it.each<[string, () => TlsSettings, RegExp]>([
  ['a certificate without a key', () => ({ CISTERN_TLS_CERT_FILE: ours.file }), /must be set together/],
  [
    'a key of another certificate',
    () => settings({ cert: ours.issue('a').cert, key: ours.issue('b').key }),
    /CISTERN_TLS_CERT_FILE and CISTERN_TLS_KEY_FILE do not fit together/,
  ],
  [
    'a file that is not there',
    () => ({ CISTERN_TLS_CA_FILE: '/none' }),
    /CISTERN_TLS_CA_FILE: cannot read '\/none' \(ENOENT\)/,
  ],
  [
    'a file without a certificate',
    () => {
      writeFileSync(join(root, 'text'), 'text');
      return { CISTERN_TLS_CA_FILE: join(root, 'text') };
    },
    /holds no certificate/,
  ],
  [
    'an authority for clients, without a listener',
    () => ({ CISTERN_TLS_CLIENT_CA_FILE: ours.file }),
    /there is no CISTERN_TLS_CERT_FILE/,
  ],
])('refuses %s', (_, given, message) => {
  expect(() => new Tls(given())).toThrow(message);
});
