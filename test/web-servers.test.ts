// The nginx configurations that come with the PHP package, beside Drupal's usual recipe, with a front controller in
// Drupal's place that says what it was asked.
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { NGINX } from './drupal/recipes.ts';
import { useCluster } from './support/cluster.ts';
import { filesOf, sha256 } from './support/files.ts';
import { needs } from './support/needs.ts';
import { waitFor } from './support/wait.ts';
import { webConfiguration } from './support/web-configuration.ts';
import { lacksWebServers, WebHead } from './support/web-head.ts';

const lack = lacksWebServers();
const FRONT_CONTROLLER = `<?php
if (preg_match('~^/system/files/([^?]+)~', $_SERVER['REQUEST_URI'], $match)) {
    header('X-Accel-Redirect: /_cistern/private/' . $match[1]);
    header('Content-Type: image/svg+xml');
    header('Cache-Control: private, must-revalidate');
    header("Content-Security-Policy: sandbox");
    exit;
}
$headers = array_intersect_key(getallheaders(), ['Authorization' => 1, 'Cookie' => 1]);
echo json_encode(['uri' => $_SERVER['REQUEST_URI'], 'query' => $_GET, 'headers' => $headers]);
`;
const FILES = '/sites/default/files';

// Nodes give a tracker five seconds to answer: with a shorter one they all look down when it stands still.
const cluster = useCluster({
  trackers: 2,
  nodes: 3,
  devices: 1,
  env: { tracker: { CISTERN_DOWN_SECONDS: '10' } },
});
const { put } = filesOf(cluster);
const root = mkdtempSync(join(tmpdir(), 'cistern-web-'));
let head: WebHead;
let url: string;

beforeAll(async () => {
  if (lack !== undefined) return;
  chmodSync(root, 0o755);
  const documentRoot = join(root, 'web');
  for (const kind of ['css', 'js', 'styles']) mkdirSync(join(documentRoot, FILES, kind), { recursive: true });
  writeFileSync(join(documentRoot, 'index.php'), FRONT_CONTROLLER);
  writeFileSync(join(documentRoot, FILES, 'css/css_kept.css'), 'body {}');
  head = new WebHead({ name: 'head', directory: join(root, 'head'), documentRoot, children: 2 });
  await head.startPhp();
  const words = {
    CISTERN_TRACKER: cluster().trackers.map((tracker) => new URL(tracker.url).host),
    CISTERN_TOKEN: await cluster().makeToken({ prefix: 'public/', redirect: true }),
    CISTERN_PRIVATE_TOKEN: await cluster().makeToken({ prefix: 'private/' }),
    CISTERN_CACHE: join(root, 'head/cache'),
    CISTERN_MAX_AGE: '300',
    CISTERN_DOMAIN: 'demo',
    CISTERN_PREFIX: 'public',
    FILES_PATH: FILES,
    FRONT_CONTROLLER: '/index.php',
  };
  const server = webConfiguration('nginx/cistern-server.conf', words);
  url = await head.startNginx('cistern', server + NGINX, webConfiguration('nginx/cistern-http.conf', words));
});
beforeEach((context) => needs(context, lack));
afterAll(async () => {
  await head?.stop();
  rmSync(root, { recursive: true, force: true });
});

const ask = (path: string, init?: RequestInit) =>
  fetch(`${url}${FILES}/${path}`, { redirect: 'manual', ...init });

it('serves what is in the store, as images too, with the headers that browsers need', async () => {
  const bytes = Buffer.from('no image, but named like one');
  await put('public/2026/a cat+1%.png', bytes);
  const answer = await ask('2026/a%20cat+1%25.png');
  expect([answer.status, await answer.text()]).toEqual([200, bytes.toString()]);
  const { headers } = answer;
  expect(headers.get('content-type')).toBe('image/png');
  expect(headers.get('etag')).toBe(`"${sha256(bytes)}"`);
  expect(headers.get('cache-control')).toBe('public, max-age=300');
  expect(headers.get('x-content-type-options')).toBe('nosniff');
  expect(headers.has('content-security-policy')).toBe(false);
  await put('public/styles/large/public/b.jpg', bytes);
  const derivative = await ask('styles/large/public/b.jpg?h=1&itok=abc');
  expect([derivative.status, derivative.headers.get('cache-control')]).toEqual([
    200,
    'public, max-age=31536000',
  ]);
});

it('answers HEAD, conditions and ranges', async () => {
  await put('public/b.txt', Buffer.from('0123456789'));
  const whole = await ask('b.txt', { method: 'HEAD' });
  expect([whole.status, whole.headers.get('content-length')]).toEqual([200, '10']);
  const etag = whole.headers.get('etag') as string;
  expect((await ask('b.txt', { headers: { 'if-none-match': etag } })).status).toBe(304);
  const part = await ask('b.txt', { headers: { range: 'bytes=-3', 'if-range': etag } });
  expect([part.status, await part.text()]).toEqual([206, '789']);
});

/** File bytes that the storage nodes have sent so far. */
async function sentByNodes(): Promise<number> {
  const pages = await Promise.all(
    cluster().nodes.map(async (node) => (await fetch(`${node.url}/metrics`)).text()),
  );
  const sent = pages.map((page) => /^cistern_http_bytes_total{.*direction="sent".*} (\d+)$/m.exec(page)?.[1]);
  return sent.reduce((sum, bytes) => sum + Number(bytes ?? 0), 0);
}

it('keeps bytes by what they are: served again without a node, and never after a replace, a move or a delete', async () => {
  const [first, second] = ['first version', 'second'].map((text) => Buffer.from(text.repeat(1000)));
  const get = async (path: string, headers = {}) => {
    const answer = await ask(path, { headers });
    return [answer.status, answer.headers.get('content-type'), await answer.text()];
  };
  await put('public/kept.txt', first as Buffer);
  // A part that is asked for first is not taken for the whole.
  expect(await get('kept.txt', { range: 'bytes=0-4' })).toEqual([206, 'text/plain', 'first']);
  expect(await get('kept.txt')).toEqual([200, 'text/plain', `${first}`]);
  const before = await sentByNodes();
  expect(before).toBeGreaterThan(0);
  expect(await get('kept.txt')).toEqual([200, 'text/plain', `${first}`]);
  expect(await get('kept.txt', { range: 'bytes=6-12' })).toEqual([206, 'text/plain', 'version']);
  expect(await sentByNodes()).toBe(before);

  await put('public/kept.txt', second as Buffer);
  expect(await get('kept.txt')).toEqual([200, 'text/plain', `${second}`]);
  await put('public/kept.txt', first as Buffer, { 'content-type': 'text/csv' });
  expect(await get('kept.txt')).toEqual([200, 'text/csv', `${first}`]);
  await cluster().request('POST', '/v1/domains/demo/move', {
    body: { from: 'public/kept.txt', to: 'public/moved.txt' },
  });
  expect(await (await ask('kept.txt')).json()).toMatchObject({ uri: `${FILES}/kept.txt` });
  expect(await get('moved.txt')).toEqual([200, 'text/csv', `${first}`]);
  await cluster().request('DELETE', '/v1/domains/demo/files/public/moved.txt');
  expect(await (await ask('moved.txt')).json()).toMatchObject({ uri: `${FILES}/moved.txt` });
});

it('lets nobody reach more of the store than public files, nor write to it', async () => {
  await put('private/secret.txt', Buffer.from('secret'));
  await put('public/c.txt', Buffer.from('kept'));
  for (const path of ['..%2fprivate/secret.txt', '%2e%2e/private/secret.txt', '../private/secret.txt']) {
    expect(await raw(`${FILES}/${path}`)).not.toContain('secret"}');
    expect(await raw(`${FILES}/${path}`)).not.toMatch(/^secret/);
  }
  const redirect = await ask('c.txt?via=redirect', {
    headers: { authorization: `Bearer ${cluster().adminToken}` },
  });
  expect([redirect.status, redirect.headers.get('location'), await redirect.text()]).toEqual([
    200,
    null,
    'kept',
  ]);
  for (const method of ['DELETE', 'PUT', 'POST', 'PATCH', 'PROPFIND']) {
    expect((await ask('c.txt', { method })).status).toBe(405);
  }
  expect(await (await ask('c.txt')).text()).toBe('kept');
});

it('hands what the store does not have to the site, with its query', async () => {
  const answer = await ask('styles/large/public/new.jpg?itok=abc&x=1', { headers: { cookie: 'SESS=1' } });
  expect(await answer.json()).toEqual({
    uri: `${FILES}/styles/large/public/new.jpg?itok=abc&x=1`,
    query: { itok: 'abc', x: '1' },
    headers: { Cookie: 'SESS=1' },
  });
});

it('sends private files that the site has allowed, with the headers that the site wants', async () => {
  await put('private/a b.svg', Buffer.from('0123456789'));
  const answer = await fetch(`${url}/system/files/a%20b.svg`, { headers: { range: 'bytes=2-4' } });
  expect([answer.status, await answer.text()]).toEqual([206, '234']);
  const { headers } = answer;
  expect(headers.get('content-type')).toBe('image/svg+xml');
  expect(headers.get('cache-control')).toBe('private, must-revalidate');
  expect(headers.get('content-security-policy')).toBe('sandbox');
  expect(headers.get('x-content-type-options')).toBe('nosniff');
  expect((await fetch(`${url}/system/files/none.pdf`)).status).toBe(404);
  expect((await fetch(`${url}/_cistern/private/a%20b.svg`)).status).toBe(404);
});

it('never serves dot files, directories and server-side scripts, and sandboxes documents', async () => {
  for (const name of ['.htaccess', 'a/.git/config', 'shell.php', 'shell.phtml', 'tool.PY']) {
    await put(`public/${name}`, Buffer.from('hidden'));
    expect((await ask(name)).status).toBe(404);
  }
  expect((await ask('a/')).status).toBe(404);
  await put('public/languages/de.js', Buffer.from('shown'));
  expect(await (await ask('languages/de.js')).text()).toBe('shown');
  for (const name of ['page.html', 'drawing.svg', 'data.xml', 'page.xhtml']) {
    await put(`public/${name}`, Buffer.from('<a/>'));
    const answer = await ask(name);
    expect([answer.status, answer.headers.get('content-security-policy')]).toEqual([
      200,
      expect.stringMatching(/^sandbox;/),
    ]);
  }
});

it('leaves aggregated css and js to the web head', async () => {
  await put('public/css/css_kept.css', Buffer.from('not this one'));
  expect(await (await ask('css/css_kept.css')).text()).toBe('body {}');
  expect(await (await ask('css/css_new.css?theme=x')).json()).toMatchObject({ query: { theme: 'x' } });
});

it('goes on when a storage node or a tracker is gone, and says so to the site when all trackers are', async () => {
  const keys = Array.from({ length: 12 }, (_, i) => `n${i}.txt`);
  for (const key of keys) await put(`public/${key}`, Buffer.from(key));
  const all = async () => Promise.all(keys.map(async (key) => (await ask(key)).text()));
  await cluster().nodes[0]?.kill();
  expect(await all()).toEqual(keys);
  await cluster().trackers[0]?.kill();
  expect(await all()).toEqual(keys);
  await cluster().trackers[1]?.kill();
  expect((await fetch(`${url}/system/files/a%20b.svg`)).status).toBe(503);
  expect(await (await ask('n1.txt')).json()).toMatchObject({ uri: `${FILES}/n1.txt` });
  await Promise.all([cluster().nodes[0], ...cluster().trackers].map((part) => part?.start()));
  await cluster().ready();
});

// nginx waits 5 s for a tracker that stands still, and as long for the next one.
it('asks another tracker when one stands still, and the site when all do', { timeout: 120_000 }, async () => {
  await put('public/still.txt', Buffer.from('still here'));
  const [first, second] = cluster().trackers;
  const served = async () => (await (await ask('still.txt')).text()) === 'still here';
  // For two seconds nginx may still hold against them that they were away.
  await waitFor(served, { what: 'nginx to ask trackers again' });
  try {
    await first?.kill('SIGSTOP');
    for (let i = 0; i < 2; i++) expect(await served()).toBe(true);
    await second?.kill('SIGSTOP');
    expect(await (await ask('still.txt')).json()).toMatchObject({ uri: `${FILES}/still.txt` });
  } finally {
    for (const tracker of cluster().trackers) await tracker.kill('SIGCONT');
  }
  await waitFor(served, { what: 'the file to be served again' });
});

/** The body that a path gets which is sent as it is: fetch would resolve its dots. */
function raw(path: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    request({ hostname, port, path }, (answer) => resolve(text(answer)))
      .on('error', reject)
      .end();
  });
}
