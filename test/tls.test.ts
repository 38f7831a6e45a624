// A whole cluster of which every connection is TLS, with an authority of its own: clients to trackers, trackers to
// nodes, nodes to each other and to trackers (with client certificates), trackers to PostgreSQL.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, type Dispatcher, getGlobalDispatcher, request, setGlobalDispatcher } from 'undici';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { Tls } from '../services/tls.ts';
import { Authority } from './support/certificates.ts';
import { type Cluster, startCluster } from './support/cluster.ts';
import { runCistern } from './support/command.ts';
import { lacksProgram, needs } from './support/needs.ts';
import { TlsServer } from './support/tls-postgres.ts';

const lack = lacksProgram('openssl');
const root = mkdtempSync(join(tmpdir(), 'cistern-tls-'));
let authority: Authority;
let server: TlsServer;
let cluster: Cluster;
let usual: Dispatcher;
let command: Record<string, string>;
let certificate: { cert: string; key: string };
let databaseUrl: string;

beforeAll(async () => {
  if (lack !== undefined) return;
  authority = new Authority(root, 'ours');
  certificate = authority.issue('part');
  const parts = {
    CISTERN_TLS_CERT_FILE: certificate.cert,
    CISTERN_TLS_KEY_FILE: certificate.key,
    CISTERN_TLS_CA_FILE: authority.file,
  };
  // The test's own requests, with a client certificate.
  usual = getGlobalDispatcher();
  setGlobalDispatcher(new Agent({ connect: new Tls(parts).connector(10_000) }));
  server = await TlsServer.create(authority);
  databaseUrl = server.url(`sslmode=verify-full&sslrootcert=${authority.file}`);
  const node = { ...parts, CISTERN_TLS_CLIENT_CA_FILE: authority.file };
  cluster = await startCluster({ devices: 1, database: databaseUrl, env: { tracker: parts, node } });
  command = {
    CISTERN_URL: cluster.trackers[0]?.url ?? '',
    CISTERN_TOKEN: cluster.token,
    CISTERN_DOMAIN: cluster.domain,
    CISTERN_TLS_CA_FILE: authority.file,
  };
});
beforeEach((context) => needs(context, lack));
afterEach(({ task }) => {
  if (task.result?.state === 'fail') process.stderr.write(`${cluster?.logs()}\n`);
});
afterAll(async () => {
  await cluster?.stop();
  await server?.remove();
  if (usual !== undefined) setGlobalDispatcher(usual);
  rmSync(root, { recursive: true, force: true });
});

const files = '/v1/domains/demo/files';

it('stores, copies, redirects and reads', async () => {
  const bytes = randomBytes(300_000);
  for (const body of ['small', bytes]) {
    expect((await cluster.request('PUT', `${files}/a`, { body })).status).toBeLessThan(300);
    expect(Buffer.from(await (await cluster.request('GET', `${files}/a`)).arrayBuffer())).toEqual(
      Buffer.from(body),
    );
  }
  const redirect = await cluster.request('GET', `${files}/a?via=redirect`);
  const location = redirect.headers.get('location') ?? '';
  expect([redirect.status, location]).toEqual([307, expect.stringMatching(/^https:/)]);
  expect(Buffer.from(await (await fetch(location)).arrayBuffer())).toEqual(bytes);
  const status = await runCistern(['status'], { env: { ...command, CISTERN_TOKEN: cluster.adminToken } });
  expect(status).toMatchObject({ code: 0 });
  expect(status.stdout).not.toContain('http:');
});

it('uploads directly, from node to node, for clients with a certificate; through the tracker for others', async () => {
  const file = join(root, 'large');
  writeFileSync(file, randomBytes(9 * 1024 * 1024));
  const ofClient = { CISTERN_TLS_CERT_FILE: certificate.cert, CISTERN_TLS_KEY_FILE: certificate.key };
  for (const more of [ofClient, {}]) {
    const env = { ...command, ...more };
    expect(await runCistern(['put', file, 'large'], { env })).toMatchObject({ code: 0 });
    expect((await runCistern(['cat', 'large'], { env })).bytes.equals(readFileSync(file))).toBe(true);
  }
});

it('has the command refuse a tracker that nobody vouches for', async () => {
  const { CISTERN_TLS_CA_FILE: _, ...env } = command;
  const refused = await runCistern(['ls'], { env });
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toMatch(/certificate/);
});

it('answers nobody without TLS, and survives those who try', async () => {
  for (const { url } of [...cluster.trackers, ...cluster.nodes]) {
    const { port, hostname } = new URL(url);
    const heard = await new Promise<string>((resolve) => {
      const socket = connect(Number(port), hostname, () =>
        socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n'),
      );
      let text = '';
      socket.on('data', (chunk) => {
        text += chunk;
      });
      socket.on('error', () => resolve(text)).on('close', () => resolve(text));
    });
    expect(heard).not.toContain('HTTP/1.1 200');
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
  }
});

it('answers no client without a certificate at the storage nodes', async () => {
  const url = `${cluster.nodes[0]?.url}/healthz`;
  const dispatcher = new Agent({
    connect: new Tls({ CISTERN_TLS_CA_FILE: authority.file }).connector(5_000),
  });
  await expect(request(url, { dispatcher })).rejects.toThrow();
  await dispatcher.destroy();
});

it('speaks to PostgreSQL over TLS only, and to none that nobody vouches for', async () => {
  const [{ all }] = (await server.sql(
    `SELECT bool_and(ssl) AS all FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'cistern' AND client_port > 0`,
  )) as [{ all: boolean }];
  expect(all).toBe(true);
  const foreign = new Authority(root, 'foreign');
  const tracker = cluster.trackers[0];
  tracker?.set({ CISTERN_DATABASE_URL: databaseUrl.replace(authority.file, foreign.file) });
  await tracker?.stop();
  await expect(tracker?.start()).rejects.toThrow(/certificate/);
  tracker?.set({ CISTERN_DATABASE_URL: databaseUrl });
  await tracker?.start();
  await cluster.ready();
});

it('tells when its certificate ends', async () => {
  const metrics = await (await fetch(`${cluster.nodes[1]?.url}/metrics`)).text();
  const seconds = Number(/^cistern_tls_certificate_expires_seconds(?:\{.*\})? (\S+)$/m.exec(metrics)?.[1]);
  const end = execFileSync('openssl', ['x509', '-noout', '-enddate', '-in', certificate.cert], {
    encoding: 'utf8',
  });
  expect(seconds).toBe(Date.parse(end.replace(/^notAfter=/, '')) / 1000);
});
