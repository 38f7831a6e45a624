import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { NGINX } from './test/drupal/recipes.ts';
import { startCluster } from './test/support/cluster.ts';
import { webConfiguration } from './test/support/web-configuration.ts';
import { WebHead } from './test/support/web-head.ts';
import { EmbeddedServer } from './test/support/embedded-postgres.ts';
import { createDatabaseOn } from './test/support/postgres.ts';
const server = await EmbeddedServer.create({ max_connections: '200' });
const cluster = await startCluster({ trackers: 2, nodes: 3, devices: 1, database: (await createDatabaseOn(server.url)).url });
const root = mkdtempSync(join(tmpdir(), 'cistern-h-')); chmodSync(root, 0o755);
const documentRoot = join(root, 'web'); const FILES = '/sites/default/files';
mkdirSync(join(documentRoot, FILES, 'local'), { recursive: true });
const bytes = Buffer.alloc(Number(process.env.SIZE ?? 30000), 7);
writeFileSync(join(documentRoot, FILES, '../local.jpg'), bytes);
const head = new WebHead({ name: 'head', directory: join(root, 'head'), documentRoot, children: 2 });
await head.startPhp();
const words = { CISTERN_TRACKER: cluster.trackers.map((t) => new URL(t.url).host), CISTERN_TOKEN: await cluster.makeToken({ prefix: 'public/', redirect: true }), CISTERN_PRIVATE_TOKEN: '-', CISTERN_CACHE: join(root, 'head/cache'), CISTERN_MAX_AGE: '300', CISTERN_DOMAIN: 'demo', CISTERN_PREFIX: 'public', FILES_PATH: FILES, FRONT_CONTROLLER: '/index.php' };
const url = await head.startNginx('cistern', webConfiguration('nginx/cistern-server.conf', words) + NGINX, webConfiguration('nginx/cistern-http.conf', words));
const put = await cluster.request('PUT', '/v1/domains/demo/files/public/a.jpg', { body: bytes });
console.log('put', put.status, root);
const w = (label: string, target: string, h: string[] = [], c = 8) => { const o = execFileSync('wrk', ['-c' + c, '-t1', '-d2', '--latency', ...h, target]).toString(); console.log(label, /Requests\/sec:\s+\S+/.exec(o)?.[0], /50%\s+\S+/.exec(o)?.[0], /Non-2xx.*/.exec(o)?.[0] ?? ''); };
console.log((await fetch(`${url}${FILES}/a.jpg`)).status);
const t = `${cluster.trackers[0].url}/v1/domains/demo/files/public/a.jpg`;
const auth = ['-H', `Authorization: Bearer ${words.CISTERN_TOKEN}`];
for (let i = 0; i < 2; i++) {
  w('local', `${url}/sites/default/local.jpg`);
  w('gateway', `${url}${FILES}/a.jpg`);
  w('tracker redirect', `${t}?via=redirect`, auth);
  writeFileSync('/tmp/head.lua', 'wrk.method = "HEAD"');
  w('tracker HEAD', t, [...auth, '-s', '/tmp/head.lua']);
  w('gateway HEAD', `${url}${FILES}/a.jpg`, ['-s', '/tmp/head.lua']);
  w('gateway c64', `${url}${FILES}/a.jpg`, [], 64);
  w('local c64', `${url}/sites/default/local.jpg`, [], 64);
}
if (process.env.HOLD) { console.log('PID trackers', process.env.HOLD); console.log(url); await new Promise((r) => setTimeout(r, Number(process.env.HOLD))); }
await head.stop(); await cluster.stop(); await server.remove(); rmSync(root, { recursive: true, force: true });
