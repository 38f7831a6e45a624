// Clones of domains: all files at once and no bytes, later writes apart, blobs shared for as long as either needs them.
// And environments: who may write a domain.
import { expect, test, vi } from 'vitest';
import { useCistern } from './support/cistern.ts';
import { useCluster } from './support/cluster.ts';
import { waitFor } from './support/wait.ts';

vi.setConfig({ testTimeout: 120_000 });

// What nothing names is reaped after a second.
const cluster = useCluster({ nodes: 2, devices: 1, env: { tracker: { CISTERN_REAP_AFTER_SECONDS: '0' } } });
const { admin } = useCistern(cluster);

async function call(
  method: string,
  path: string,
  body?: object | string,
  headers: Record<string, string> = {},
) {
  const answer = await cluster().request(method, `/v1/domains${path}`, {
    token: cluster().adminToken,
    headers,
    ...(body !== undefined && { body }),
  });
  const text = await answer.text();
  const json = answer.headers.get('content-type')?.includes('json');
  return { status: answer.status, text, body: json ? JSON.parse(text) : undefined };
}
const put = async (key: string, content: string, headers: Record<string, string> = {}) => {
  const { status, body } = await call('PUT', `/${key.replace('/', '/files/')}`, content, headers);
  return { status, body };
};
const read = async (key: string) => {
  const { status, text } = await call('GET', `/${key.replace('/', '/files/')}`);
  return status === 200 ? text : status;
};
const listing = async (domain: string) =>
  (await call('GET', `/${domain}/directories/?recursive=true`)).body.entries.map(
    ({ fid, ...entry }: { fid?: number }) => entry,
  );

test('a clone has all that the domain has, and shares no name with it', async () => {
  await call('POST', '', { name: 'prod', trashDays: 7 });
  await call('PUT', '/prod/classes/images', { copies: 1, minCopies: 1, prefixes: ['img/'], trash: false });
  const mtime = '2020-01-02T03:04:05.000Z';
  await put('prod/a/b/c.txt', 'deep', { 'cistern-mtime': mtime, 'cistern-meta': '{"mode":"0640"}' });
  await put('prod/img/x.png', 'image', { 'content-type': 'image/x-odd' });
  await put('prod/top', 'top');
  await call('PUT', '/prod/directories/empty');
  await call('DELETE', '/prod/directories/gone');
  await put('prod/removed/f', 'x');
  await call('DELETE', '/prod/directories/removed?recursive=true');

  const made = await admin(['domain', 'clone', 'prod', 'stage', '--json']);
  expect(made.stderr).toBe('');
  expect(JSON.parse(made.stdout)).toMatchObject({
    name: 'stage',
    trashDays: 7,
    environment: null,
    files: 3,
    directories: 4,
  });
  expect(await listing('stage')).toEqual(await listing('prod'));
  const { body } = await call('GET', '/stage/classes');
  expect(body).toEqual((await call('GET', '/prod/classes')).body);
  expect(
    (await call('POST', '/stage/stat', { keys: ['a/b/c.txt', 'img/x.png'] })).body.entries,
  ).toMatchObject([
    { mtime, meta: { mode: '0640' } },
    { contentType: 'image/x-odd', class: 'images' },
  ]);

  await put('stage/top', 'of stage');
  await call('POST', '/prod/move', { from: 'a', to: 'moved' });
  await put('prod/new', 'of prod');
  expect([await read('prod/top'), await read('stage/top')]).toEqual(['top', 'of stage']);
  expect([await read('stage/a/b/c.txt'), await read('stage/new')]).toEqual(['deep', 404]);

  const again = await admin(['domain', 'clone', 'prod', 'stage']);
  expect(again.code).toBe(1);
  expect(again.stderr).toContain("There is a domain 'stage' already");
  expect((await admin(['domain', 'clone', 'nowhere', 'x'])).code).toBe(1);
});

test('bytes live for as long as either names them, and no longer', async () => {
  await call('POST', '', { name: 'p2', trashDays: 0 });
  const { body: entry } = await put('p2/only', 'shared bytes');
  await call('POST', '/p2/clone', { name: 's2' });
  await call('DELETE', '/p2?recursive=true');
  const reaping = async () => {
    const answer = await cluster().request('GET', '/v1/repair', { token: cluster().adminToken });
    const { reaping, removing } = (await answer.json()) as { reaping: number; removing: number };
    return reaping + removing;
  };
  const { default: pg } = await import('pg');
  const database = new pg.Client({ connectionString: cluster().database });
  await database.connect();
  const state = async () =>
    (await database.query('SELECT state FROM blobs WHERE fid = $1', [entry.fid])).rows[0]?.state;
  const names = async () =>
    (await database.query('SELECT count(*)::int AS n FROM names WHERE fid = $1', [entry.fid])).rows[0]?.n;
  try {
    await waitFor(async () => (await names()) === 1 && (await reaping()) === 0, {
      what: 'the reaper to have looked',
    });
    expect([await state(), await read('s2/only')]).toEqual(['live', 'shared bytes']);
    await call('DELETE', '/s2?recursive=true');
    await waitFor(async () => (await state()) === 'gone', { what: 'the blob to be reaped' });
  } finally {
    await database.end();
  }
});

test('a clone that is made while the domain is written is of one instant', async () => {
  await call('POST', '', { name: 'busy' });
  // A file is always under exactly one of two names, and its directory moves as well.
  await put('busy/dir/file', 'x');
  let going = true;
  const writing = (async () => {
    for (let i = 0; going; i++) {
      await call('POST', '/busy/move', {
        from: i % 2 === 0 ? 'dir' : 'other',
        to: i % 2 === 0 ? 'other' : 'dir',
      });
    }
  })();
  try {
    for (let i = 0; i < 10; i++) {
      const { status, body } = await call('POST', '/busy/clone', { name: `busy-${i}` });
      expect([status, body.files]).toEqual([201, 1]);
      const keys = (await listing(`busy-${i}`)).map(({ key }: { key: string }) => key);
      expect([['dir', 'dir/file'].join(), ['other', 'other/file'].join()]).toContain(keys.join());
    }
  } finally {
    going = false;
    await writing;
  }
});

test('a domain is written by the environment that wrote it first; others may read, until it is said otherwise', async () => {
  await call('POST', '', { name: 'site' });
  const as = (environment: string) => ({ 'cistern-environment': environment });
  expect((await put('site/a', 'nobody', {})).status).toBe(201);
  expect((await put('site/a', 'prod', as('prod'))).status).toBe(200);
  const refused = await put('site/a', 'stage', as('stage'));
  expect(refused).toMatchObject({ status: 409, body: { type: 'urn:cistern:problem:other-environment' } });
  expect(refused.body.detail).toContain('cistern domain environment site --set stage');
  for (const [method, path, body] of [
    ['DELETE', '/site/files/a'],
    ['POST', '/site/move', { from: 'a', to: 'b' }],
    ['PUT', '/site/directories/d'],
    ['POST', '/site/uploads', { key: 'a', size: 1 }],
  ] as const) {
    expect((await call(method, path, body, as('stage'))).status, `${method} ${path}`).toBe(409);
  }
  expect(await read('site/a')).toBe('prod');
  expect((await call('GET', '/site/files/a', undefined, as('stage'))).status).toBe(200);
  // Who does not name itself is an operator, or a client from before.
  expect((await put('site/a', 'nobody')).status).toBe(200);
  expect((await put('site/a', 'x', as('Not a Name'))).status).toBe(400);

  expect((await admin(['domain', 'environment', 'site'])).stdout).toContain("'prod'");
  expect((await admin(['domain', 'environment', 'site', '--set', 'stage'])).code).toBe(0);
  expect((await put('site/a', 'stage', as('stage'))).status).toBe(200);
  expect((await put('site/a', 'prod', as('prod'))).status).toBe(409);
  // The command names its environment too.
  const rm = (environment: string) =>
    admin(['rm', '--domain', 'site', 'a'], { env: { CISTERN_ENVIRONMENT: environment } });
  expect((await rm('prod')).stderr).toContain("is written by the environment 'stage'");
  expect((await rm('stage')).code).toBe(0);
  expect((await admin(['domain', 'environment', 'site', '--clear'])).code).toBe(0);
  expect((await put('site/a', 'prod', as('prod'))).status).toBe(201);
  // A clone belongs to nobody yet.
  await call('POST', '/site/clone', { name: 'copy' });
  expect((await put('copy/a', 'stage', as('stage'))).status).toBe(200);
});
