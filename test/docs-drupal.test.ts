// What docs/drupal.md tells an operator to type is typed as it stands, and what it makes is used as heads and nginx
// use it.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { useCluster } from './support/cluster.ts';
import { pathOfFile } from './support/files.ts';

const cluster = useCluster({ nodes: 2, devices: 1 });
const root = new URL('..', import.meta.url).pathname;

/** Runs the page's commands in their order, as an operator. Returns what each printed. */
async function typeAll(): Promise<Map<string, string>> {
  const page = readFileSync(new URL('../docs/drupal.md', import.meta.url), 'utf8');
  const { PATH = '', HOME = '' } = process.env;
  const { trackers, adminToken } = cluster();
  const env = { PATH, HOME, CISTERN_URL: trackers[0]?.url, CISTERN_TOKEN: adminToken };
  const printed = new Map<string, string>();
  for (const [, line = ''] of page.matchAll(/^ *(npx cistern .*)$/gm)) {
    const { stdout } = await promisify(execFile)('bash', ['-euc', line], { cwd: root, env });
    printed.set(line.replace(/^npx cistern ((?:domain|token|class) [a-z]+ [a-z-]+).*/, '$1'), stdout);
  }
  return printed;
}

it('makes the domain, the class and the tokens that heads and nginx need', { timeout: 120_000 }, async () => {
  const printed = await typeAll();
  expect([...printed.keys()].sort()).toEqual([
    'class set derivatives',
    'domain add www',
    'token add nginx',
    'token add nginx-private',
    'token add web',
  ]);
  const token = (name: string) => printed.get(`token add ${name}`)?.trim() ?? 'none';
  const ask = async (method: string, key: string, of: string, body?: string) => {
    const answer = await cluster().request(method, pathOfFile(key, 'www'), {
      token: token(of),
      ...(body !== undefined && { body }),
    });
    return [answer.status, await answer.text()];
  };
  for (const key of ['public/a.csv', 'private/a.csv', 'public/styles/medium/a.png']) {
    expect((await ask('PUT', key, 'web', key))[0]).toBe(201);
    expect(await ask('GET', key, 'web')).toEqual([200, key]);
  }
  expect(await ask('GET', 'public/a.csv', 'nginx')).toEqual([200, 'public/a.csv']);
  expect(await ask('GET', 'private/a.csv', 'nginx-private')).toEqual([200, 'private/a.csv']);
  // Neither sees the other's files, and neither writes.
  expect((await ask('GET', 'private/a.csv', 'nginx'))[0]).toBe(403);
  expect((await ask('GET', 'public/a.csv', 'nginx-private'))[0]).toBe(403);
  for (const of of ['nginx', 'nginx-private'])
    expect((await ask('PUT', `${of === 'nginx' ? 'public' : 'private'}/b.csv`, of, 'b'))[0]).toBe(403);

  const direct = `${pathOfFile('public/a.csv', 'www')}?via=redirect`;
  const { headers } = await cluster().request('GET', direct, { token: token('nginx') });
  expect(await (await fetch(headers.get('location') ?? '')).text()).toBe('public/a.csv');

  // Derivatives have no trash, originals do.
  for (const key of ['public/a.csv', 'public/styles/medium/a.png'])
    expect((await ask('DELETE', key, 'web'))[0]).toBe(204);
  const trash = await cluster().request('GET', '/v1/domains/www/trash', { token: token('web') });
  const { versions } = (await trash.json()) as { versions: { key: string }[] };
  expect(versions.map(({ key }) => key)).toEqual(['public/a.csv']);
});
