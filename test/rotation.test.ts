// Every secret is replaced while clients write and read, and no request fails: the steps of docs/production.md.
import { appendFileSync, copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { Agent, type Dispatcher, getGlobalDispatcher, setGlobalDispatcher } from 'undici';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { Tls } from '../services/tls.ts';
import { Authority } from './support/certificates.ts';
import { type Cluster, type Part, startCluster } from './support/cluster.ts';
import { lacksProgram, needs } from './support/needs.ts';
import { TlsServer } from './support/tls-postgres.ts';
import { Traffic } from './support/traffic.ts';
import { waitFor } from './support/wait.ts';

const lack = lacksProgram('openssl');
const root = mkdtempSync(join(tmpdir(), 'cistern-rotation-'));
/** What all parts are set to: files that are replaced. */
const trusted = join(root, 'trusted.pem');
const cert = join(root, 'part.pem');
const key = join(root, 'part.key');
const NEW_KEY = 'another cluster key, of 32 bytes or more';
const NEW_ADMIN = 'another-admin-token-of-the-tests';
const ROTATION_MS = 600_000;

let authorities: { former: Authority; next: Authority };
let server: TlsServer;
let cluster: Cluster;
let traffic: Traffic;
let usual: Dispatcher;

beforeAll(async () => {
  if (lack !== undefined) return;
  authorities = { former: new Authority(root, 'former'), next: new Authority(root, 'next') };
  copyFileSync(authorities.former.file, trusted);
  install(authorities.former);
  // The clients trust both from the start.
  const both = join(root, 'both.pem');
  copyFileSync(authorities.former.file, both);
  appendFileSync(both, readFileSync(authorities.next.file));
  process.env.CISTERN_TLS_CA_FILE = both;
  usual = getGlobalDispatcher();
  setGlobalDispatcher(new Agent({ connect: new Tls({ CISTERN_TLS_CA_FILE: both }).connector(10_000) }));
  server = await TlsServer.create(authorities.former);
  await server.sql(`CREATE ROLE app LOGIN PASSWORD 'first'`);
  await server.sql('ALTER DATABASE cistern OWNER TO app');
  const env = { CISTERN_TLS_CERT_FILE: cert, CISTERN_TLS_KEY_FILE: key, CISTERN_TLS_CA_FILE: trusted };
  const database = databaseUrl('app', 'first');
  cluster = await startCluster({ trackers: 2, devices: 1, database, env: { tracker: env, node: env } });
  traffic = new Traffic(cluster).start();
  await traffic.more();
}, 200_000);
beforeEach((context) => needs(context, lack));
afterEach(({ task }) => {
  if (task.result?.state === 'fail') process.stderr.write(`${cluster?.logs()}\n`);
});
afterAll(async () => {
  await traffic?.stop();
  await cluster?.stop();
  await server?.remove();
  if (usual !== undefined) setGlobalDispatcher(usual);
  delete process.env.CISTERN_TLS_CA_FILE;
  rmSync(root, { recursive: true, force: true });
});

function install(authority: Authority): void {
  const issued = authority.issue('part');
  copyFileSync(issued.cert, cert);
  copyFileSync(issued.key, key);
}

function databaseUrl(user: string, password: string): string {
  const url = new URL(server.url(`sslmode=verify-full&sslrootcert=${authorities.former.file}`));
  url.username = user;
  url.password = password;
  return url.href;
}

const parts = (): Part[] => [...cluster.trackers, ...cluster.nodes];

/** Other settings for these parts; one after the other is restarted, and all are waited for. */
async function roll(which: Part[], settings: (part: Part) => Record<string, string>): Promise<void> {
  for (const part of which) {
    part.configure(settings(part));
    await part.restart();
    await cluster.ready(60_000);
  }
  await traffic.more();
  expect(traffic.failures).toEqual([]);
}

/** Whose certificate a part shows. */
function issuerOf(part: Part): Promise<string> {
  const { hostname, port } = new URL(part.url);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port), rejectUnauthorized: false }, () => {
      resolve(String(socket.getPeerCertificate().issuer.CN));
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

async function statusAs(token: string, tracker: number): Promise<number> {
  return (await cluster.request('GET', '/v1/status', { token, tracker })).status;
}

it(
  'certificates, and the authority that they are of, without a restart',
  async () => {
    const times = () => cluster.logs().split('TLS files were read again').length - 1;
    appendFileSync(trusted, readFileSync(authorities.next.file));
    for (const { pid } of parts()) process.kill(pid, 'SIGHUP');
    await waitFor(() => times() >= parts().length, { what: 'all parts to trust both authorities' });
    // Nobody is told of these: the files are watched.
    install(authorities.next);
    for (const part of parts()) {
      await waitFor(async () => (await issuerOf(part)) === 'next', {
        what: `${part.name} to show the new one`,
      });
    }
    await traffic.more();
    copyFileSync(authorities.next.file, trusted);
    for (const { pid } of parts()) process.kill(pid, 'SIGHUP');
    await traffic.more(40);
    expect(traffic.failures).toEqual([]);
  },
  ROTATION_MS,
);

it(
  "a site's token",
  async () => {
    const first = cluster.token;
    const listed = await cluster.request('GET', '/v1/tokens', { token: cluster.adminToken });
    const { tokens } = (await listed.json()) as { tokens: { id: number; domain: string }[] };
    cluster.token = await cluster.makeToken({ scopes: ['read', 'write'] });
    traffic.use(cluster.token);
    await traffic.more();
    for (const { id } of tokens) {
      await cluster.request('DELETE', `/v1/tokens/${id}`, { token: cluster.adminToken });
    }
    for (const tracker of [0, 1]) {
      const read = () => cluster.request('GET', '/v1/domains/demo/directories/', { token: first, tracker });
      await waitFor(async () => (await read()).status === 401, { what: 'the old token to be refused' });
    }
    await traffic.more();
    expect(traffic.failures).toEqual([]);
  },
  ROTATION_MS,
);

it(
  "the cluster key, the admin token and the database's password, in three rounds of restarts",
  async () => {
    const isTracker = (part: Part) => cluster.trackers.includes(part);
    await server.sql(`CREATE ROLE app_2 LOGIN PASSWORD 'second' IN ROLE app`);
    await server.sql('ALTER ROLE app_2 SET role = app');
    const admin = { CISTERN_ADMIN_TOKEN: NEW_ADMIN, CISTERN_ADMIN_TOKEN_PREVIOUS: cluster.adminToken };
    const database = { CISTERN_DATABASE_URL: databaseUrl('app_2', 'second') };
    await roll(parts(), (part) => ({
      CISTERN_CLUSTER_KEY_PREVIOUS: NEW_KEY,
      ...(isTracker(part) && { ...admin, ...database }),
    }));
    for (const token of [cluster.adminToken, NEW_ADMIN]) {
      expect([await statusAs(token, 0), await statusAs(token, 1)]).toEqual([200, 200]);
    }
    await server.sql('ALTER ROLE app PASSWORD NULL');

    await roll(parts(), () => ({
      CISTERN_CLUSTER_KEY: NEW_KEY,
      CISTERN_CLUSTER_KEY_PREVIOUS: cluster.clusterKey,
    }));
    await roll(cluster.nodes, () => ({ CISTERN_CLUSTER_KEY_PREVIOUS: '' }));
    // `ready` asks as the admin of old, so the last tracker comes without it.
    for (const part of cluster.trackers) {
      part.configure({ CISTERN_CLUSTER_KEY_PREVIOUS: '', CISTERN_ADMIN_TOKEN_PREVIOUS: '' });
      await part.restart();
      await waitFor(async () => (await fetch(`${part.url}/readyz`)).ok, { what: `${part.name} to be ready` });
    }
    await traffic.more(40);
    expect(traffic.failures).toEqual([]);
    expect([await statusAs(cluster.adminToken, 0), await statusAs(cluster.adminToken, 1)]).toEqual([
      401, 401,
    ]);
    expect([await statusAs(NEW_ADMIN, 0), await statusAs(NEW_ADMIN, 1)]).toEqual([200, 200]);
    const [{ roles }] = (await server.sql(
      `SELECT array_agg(DISTINCT usename::text) AS roles FROM pg_stat_activity WHERE usename LIKE 'app%'`,
    )) as [{ roles: string[] }];
    expect(roles).toEqual(['app_2']);
  },
  ROTATION_MS,
);
