// Downloads by an nginx in front of the tracker: the tracker only says where the bytes are.
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, type Dispatcher, getGlobalDispatcher, setGlobalDispatcher } from 'undici';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Tls } from '../services/tls.ts';
import { Authority } from './support/certificates.ts';
import { type Cluster, startCluster, useCluster } from './support/cluster.ts';
import { blockOf } from './support/documents.ts';
import { filesOf, problemOf, sha256 } from './support/files.ts';
import { lacksProgram, needs } from './support/needs.ts';
import { lacksWebServers, WebHead } from './support/web-head.ts';

const cluster = useCluster({
  nodes: 2,
  devices: 1,
  env: { tracker: { CISTERN_X_ACCEL_PREFIX: '/internal/nodes/' } },
});
const { put, get, head } = filesOf(cluster);

it('answers with X-Accel-Redirect, and the node sends what the tracker would have sent', async () => {
  await put('a.txt', Buffer.from('0123456789'));
  const answer = await get('a.txt', { query: '?download=b.txt' });
  expect([answer.status, await answer.text()]).toEqual([200, '']);
  const internal = answer.headers.get('x-accel-redirect') ?? '';
  const [, host, path] = /^\/internal\/nodes\/([\w.:]+)(\/.*)$/.exec(internal) ?? [];
  const read = await fetch(`http://${host}${path}`, { headers: { range: 'bytes=3-5' } });
  expect([read.status, await read.text()]).toEqual([206, '345']);
  expect(read.headers.get('etag')).toBe(`"${sha256('0123456789')}"`);
  expect(read.headers.get('content-type')).toBe('text/plain');
  expect(read.headers.get('content-disposition')).toBe('attachment; filename=b.txt');
});

it('still decides by itself who may read, and what has not changed', async () => {
  await put('a.txt', Buffer.from('0123456789'));
  expect(await problemOf(await get('a.txt', { token: 'wrong' }))).toEqual({
    name: 'not-authenticated',
    status: 401,
  });
  const known = await get('a.txt', { headers: { 'if-none-match': `"${sha256('0123456789')}"` } });
  expect(known.status).toBe(304);
  expect((await head('a.txt')).headers.get('content-length')).toBe('10');
});

describe('an nginx as documented, and nodes with certificates', () => {
  const lack = lacksWebServers() ?? lacksProgram('openssl');
  const root = mkdtempSync(join(tmpdir(), 'cistern-x-accel-'));
  let usual: Dispatcher | undefined;
  let secure: Cluster;
  let head: WebHead;
  let server = '';
  let authority: Authority;

  beforeAll(async () => {
    if (lack !== undefined) return;
    chmodSync(root, 0o755);
    authority = new Authority(root, 'ours');
    chmodSync(authority.file, 0o644);
    const { cert, key } = authority.issue('node', 'IP:127.0.0.1,DNS:storage.example.com');
    const trust = { CISTERN_TLS_CA_FILE: authority.file };
    usual = getGlobalDispatcher();
    setGlobalDispatcher(new Agent({ connect: new Tls(trust).connector(10_000) }));
    const tracker = { ...trust, CISTERN_X_ACCEL_PREFIX: '/internal/nodes' };
    const node = { ...trust, CISTERN_TLS_CERT_FILE: cert, CISTERN_TLS_KEY_FILE: key };
    secure = await startCluster({ nodes: 2, devices: 1, env: { tracker, node } });
    head = new WebHead({ name: 'head', directory: join(root, 'head'), documentRoot: root });
    const documented = blockOf('docs/http-api.md', 'nginx');
    server = documented
      .replace('http://10.0.0.1:7500', secure.trackers[0]?.url ?? '')
      .replace('/domains/www/', `/domains/${secure.domain}/`)
      .replace('TOKEN', secure.token)
      .replace('/etc/cistern/tls/ca.pem', authority.file);
  });
  beforeEach((context) => needs(context, lack));
  afterAll(async () => {
    await head?.stop();
    await secure?.stop();
    if (usual !== undefined) setGlobalDispatcher(usual);
    rmSync(root, { recursive: true, force: true });
  });

  it('has it send what the nodes hold, in parts too', async () => {
    const bytes = randomBytes(3_000_000);
    const { url } = secure.trackers[0] as { url: string };
    const headers = { authorization: `Bearer ${secure.token}`, 'content-type': 'image/jpeg' };
    const path = `/v1/domains/${secure.domain}/files/a%20b.jpg`;
    expect((await fetch(url + path, { method: 'PUT', body: bytes, headers })).status).toBe(201);
    const front = await head.startNginx('front', server);
    const whole = await fetch(`${front}/files/a%20b.jpg`);
    expect([whole.status, whole.headers.get('content-type')]).toEqual([200, 'image/jpeg']);
    expect(Buffer.from(await whole.arrayBuffer()).equals(bytes)).toBe(true);
    const part = await fetch(`${front}/files/a%20b.jpg`, { headers: { range: 'bytes=-5' } });
    expect(part.status).toBe(206);
    expect(Buffer.from(await part.arrayBuffer()).equals(bytes.subarray(-5))).toBe(true);
    expect((await fetch(`${front}/files/none`)).status).toBe(404);
    expect((await fetch(`${front}/internal/nodes/127.0.0.1/x`)).status).toBe(404);
  });

  it('has it refuse nodes of another name, or of another authority', async () => {
    const others = {
      unnamed: server.replace('storage.example.com', 'storage.example.org'),
      theirs: server.replace(authority.file, new Authority(root, 'theirs').file),
    };
    for (const [name, configuration] of Object.entries(others)) {
      const front = await head.startNginx(name, configuration);
      expect([name, (await fetch(`${front}/files/a%20b.jpg`)).status]).toEqual([name, 502]);
    }
  });
});
