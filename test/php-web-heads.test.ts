// Two web heads (php-fpm pools with directories of their own, each behind an nginx) that share nothing but the store:
// a small site on the PHP library, while trackers and nodes are killed, hang and come back.
import { randomBytes } from 'node:crypto';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { useCluster } from './support/cluster.ts';
import { type Fault, FaultProxy } from './support/fault-proxy.ts';
import { sha256 } from './support/files.ts';
import { needs } from './support/needs.ts';
import { waitFor } from './support/wait.ts';
import { lacksWebServers, WebHead } from './support/web-head.ts';

const MiB = 1024 * 1024;
const NGINX = `
  location / {
    include /etc/nginx/fastcgi_params;
    fastcgi_param SCRIPT_FILENAME $document_root/index.php;
    fastcgi_buffering off;
    fastcgi_pass PHP_SOCKET;
  }`;
const lack = lacksWebServers();
const library = fileURLToPath(new URL('../client-php-shim/src', import.meta.url));
const site = fileURLToPath(new URL('support/php/index.php', import.meta.url));

const cluster = useCluster({ trackers: 2 });
const root = mkdtempSync(join(tmpdir(), 'cistern-heads-'));
const proxies: FaultProxy[] = [];
const heads: { head: WebHead; url: string }[] = [];
beforeAll(async () => {
  if (lack !== undefined) return;
  chmodSync(root, 0o755);
  for (const { url } of cluster().trackers) proxies.push(await new FaultProxy(url).start());
  for (const name of ['a', 'b']) {
    const directory = join(root, name);
    const documentRoot = join(directory, 'web');
    mkdirSync(documentRoot, { recursive: true });
    cpSync(library, join(directory, 'library/src'), { recursive: true });
    cpSync(site, join(documentRoot, 'index.php'));
    const config = {
      library: join(directory, 'library'),
      trackers: cluster().trackers.map(({ url }) => url),
      proxies: proxies.map(({ url }) => url),
      domain: cluster().domain,
      token: cluster().token,
    };
    writeFileSync(join(documentRoot, 'config.json'), JSON.stringify(config));
    const ini = { memory_limit: '32M', upload_max_filesize: '1G', post_max_size: '1G' };
    const head = new WebHead({ name, directory, documentRoot, ini });
    await head.startPhp();
    heads.push({ head, url: await head.startNginx('site', NGINX) });
  }
});
beforeEach((context) => needs(context, lack));
afterEach(({ task }) => {
  if (task.result?.state === 'fail') for (const { head } of heads) process.stderr.write(head.logs());
});
afterAll(async () => {
  for (const { head } of heads) await head.stop();
  for (const proxy of proxies) await proxy.stop();
  rmSync(root, { recursive: true, force: true });
});

const [A, B] = [0, 1];
const get = (head: number, path: string) => fetch(`${heads[head]?.url}${path}`);
function upload(head: number, key: string, bytes: Buffer, path = '/upload'): Promise<Response> {
  const body = new FormData();
  body.set('file', new Blob([new Uint8Array(bytes)]), 'name');
  return fetch(`${heads[head]?.url}${path}?key=${key}`, { method: 'POST', body });
}
const setFaults = (fault?: Fault) => Promise.all(proxies.map((proxy) => proxy.set(fault)));
interface LookUps {
  absent: number;
  failed: number;
  seconds: number;
}
const lookUps = async (head: number, count: number, more = '') =>
  (await (await get(head, `/look-ups?proxied&count=${count}${more}`)).json()) as LookUps;

it('shows at once on one head what the other one stored and deleted', async () => {
  for (let i = 0; i < 10; i++) {
    const bytes = randomBytes(50_000);
    const [from, to] = i % 2 === 0 ? [A, B] : [B, A];
    expect(await (await get(to, `/send?key=shared-${i}`)).status).toBe(404);
    expect(await (await upload(from, `shared-${i}`, bytes)).text()).toBe(sha256(bytes));
    const sent = Buffer.from(await (await get(to, `/send?key=shared-${i}`)).arrayBuffer());
    expect(sent.equals(bytes)).toBe(true);
    expect((await get(from, `/delete?key=shared-${i}`)).status).toBe(200);
    expect((await get(to, `/send?key=shared-${i}`)).status).toBe(404);
  }
});

it('stores and sends files that are larger than its memory', { timeout: 120_000 }, async () => {
  const bytes = randomBytes(100 * MiB);
  for (const path of ['/upload', '/move-upload']) {
    const key = `large${path.replace('/', '-')}`;
    expect(await (await upload(A, key, bytes, path)).text()).toMatch(/^(true|[0-9a-f]{64})$/);
    const sent = Buffer.from(await (await get(B, `/send?key=${key}`)).arrayBuffer());
    expect(sent.equals(bytes)).toBe(true);
  }
  await waitFor(() => heads.every(({ head }) => head.requests().some(({ path }) => path.includes('large'))), {
    what: 'the pools to log what they served',
  });
  for (const { head } of heads)
    for (const { peakBytes } of head.requests()) expect(peakBytes).toBeLessThan(12 * MiB);
});

it('lets no visitor see that trackers and nodes die', { timeout: 120_000 }, async () => {
  const bytes = randomBytes(MiB);
  await upload(A, 'steady', bytes);
  const { trackers, nodes } = cluster();
  for (const victim of [trackers[0], nodes[0], trackers[1], nodes[1]]) {
    let stop = false;
    let served = 0;
    const visitor = async (head: number, id: string) => {
      for (let i = 0; !stop; i++) {
        const key = `${victim?.name}-${id}-${i}`;
        const stored = await upload(head, key, bytes);
        expect([stored.status, await stored.text()]).toEqual([200, sha256(bytes)]);
        for (const name of ['steady', key]) {
          const answer = await get(1 - head, `/send?key=${name}`);
          expect(answer.status).toBe(200);
          expect(Buffer.from(await answer.arrayBuffer()).equals(bytes)).toBe(true);
        }
        served += 1;
      }
    };
    const visitors = Promise.all([visitor(A, 'a1'), visitor(A, 'a2'), visitor(B, 'b1')]);
    try {
      await Promise.race([visitors, waitFor(() => served > 3, { what: 'visits' })]);
      await victim?.kill('SIGKILL');
      const before = served;
      await Promise.race([
        visitors,
        waitFor(() => served > before + 10, { what: 'more visits', timeout: 60_000 }),
      ]);
    } finally {
      stop = true;
      await visitors.finally(() => victim?.start());
    }
    await cluster().ready();
  }
});

it('loses no more time to trackers that hang than a web request may', { timeout: 60_000 }, async () => {
  expect(await (await get(A, '/apcu')).text(), 'APCu is needed for the next lines').toBe('true');
  await setFaults({ kind: 'stall' });
  // One waits for both trackers; what it learnt holds for all processes of its head.
  const first = await lookUps(A, 50, '&timeout=1');
  expect(first).toMatchObject({ failed: 50, absent: 0 });
  expect(first.seconds).toBeLessThan(6);
  const others = await Promise.all(Array.from({ length: 6 }, () => lookUps(A, 50, '&timeout=1')));
  expect(others.every(({ failed }) => failed === 50)).toBe(true);
  expect(Math.min(...others.map(({ seconds }) => seconds))).toBeLessThan(0.5);
  // Slow trackers work, until they have cost too much.
  await setFaults({ kind: 'delay', delay: 600 });
  const slow = await waitFor(
    async () => {
      const seen = await lookUps(B, 40, '&timeout=2&deadline=3');
      return seen.absent > 0 && seen;
    },
    { what: 'the head to ask trackers that are slow' },
  );
  expect(slow.failed).toBeGreaterThan(0);
  expect(slow.seconds).toBeLessThan(15);
  await setFaults();
  await waitFor(async () => (await lookUps(A, 5)).absent === 5, {
    what: 'head A to ask again',
    timeout: 45_000,
  });
  await waitFor(async () => (await lookUps(B, 5)).absent === 5, {
    what: 'head B to ask again',
    timeout: 45_000,
  });
});
