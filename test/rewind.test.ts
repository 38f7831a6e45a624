// Time travel on a real cluster with two trackers, by HTTP and by the `cistern` command: a site's database is restored
// from a backup, and its files go back with it; what was deleted by mistake comes back from the trash.
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { useCluster } from './support/cluster.ts';
import { runCistern } from './support/command.ts';
import { waitFor } from './support/wait.ts';

// Each command is a process of its own, which a busy machine is slow to start.
vi.setConfig({ testTimeout: 180_000 });

const cluster = useCluster({ trackers: 2, env: { tracker: { CISTERN_REAP_AFTER_SECONDS: '0' } } });
const path = (rest: string) => `/v1/domains/${cluster().domain}/${rest}`;

/** Runs a command as the domain's user (or the operator), which must succeed; its lines of standard output. */
async function cistern(args: string[], token = cluster().token): Promise<string[]> {
  const ran = await runCistern(args, {
    env: {
      CISTERN_URL: cluster().trackers[1]?.url as string,
      CISTERN_DOMAIN: cluster().domain,
      CISTERN_TOKEN: token,
    },
  });
  expect(ran.code, ran.stderr).toBe(0);
  return ran.stdout.split('\n').filter((line) => line !== '');
}
const operator = (...args: string[]) => cistern(args, cluster().adminToken);

/** Sends a request to the first tracker and demands success. */
async function api(method: string, to: string, body?: string | object, headers: Record<string, string> = {}) {
  const answer = await cluster().request(method, path(to), {
    ...(body === undefined ? {} : { body }),
    headers,
  });
  expect(answer.status, await answer.clone().text()).toBeLessThan(300);
  return answer;
}
const put = (key: string, text: string, headers: Record<string, string> = {}) =>
  api('PUT', `files/${key}`, text, headers);

/** Everything in the domain, as a client of this tracker sees it, with the bytes. */
async function everything(tracker: number): Promise<Record<string, unknown>> {
  const listed = await cluster().request('GET', path('directories/?recursive=true'), { tracker });
  const { entries } = (await listed.json()) as { entries: { kind: string; key: string }[] };
  const all: Record<string, unknown> = {};
  for (const entry of entries) {
    const bytes =
      entry.kind === 'file' && (await cluster().request('GET', path(`files/${entry.key}`), { tracker }));
    all[entry.key] = { ...entry, ...(bytes && { text: await bytes.text() }) };
  }
  return all;
}

/** A time between what was done before and what is done next, by the only clock there is here. */
async function moment(): Promise<string> {
  await sleep(5);
  const at = new Date().toISOString();
  await sleep(5);
  return at;
}

beforeEach(async () => {
  await api('DELETE', 'directories/?recursive=true');
  await cistern(['trash', 'purge', '--all', '--yes']);
});

describe('a site is restored from a backup of its database', () => {
  test('its files become those of that time, by one command, at all trackers at once; and can go back', async () => {
    await put('public/kept.txt', 'kept');
    await put('public/replaced.txt', 'as it was', {
      'cistern-meta': '{"mode":420}',
      'cistern-mtime': '2020-01-01T00:00:00Z',
    });
    await put('public/deleted.txt', 'deleted');
    await put('public/2026-10/a.txt', 'a');
    await put('public/2026-10/sub/b.txt', 'b');
    await api('PUT', 'directories/public/empty');
    const dumped = await moment();
    const then = await everything(0);

    await put('public/replaced.txt', 'later');
    await api('DELETE', 'files/public/deleted.txt');
    await api('POST', 'move', { from: 'public/2026-10', to: 'archive/october' });
    await api('POST', 'move', { from: 'public/kept.txt', to: 'public/renamed.txt' });
    await put('archive/october/sub/new.txt', 'new');
    await api('PATCH', 'files/archive/october/a.txt', { contentType: 'text/x-changed' });
    await api('DELETE', 'directories/public/empty');
    const later = await everything(0);

    const rewind = ['domain', 'rewind', cluster().domain];
    const planned = await operator(...rewind, '--to', dumped, '--dry-run');
    expect(planned).toEqual([
      expect.stringMatching(
        /^would rewind 'demo' to .*: 3 files removed, 3 files restored, 1 file replaced, 1 directory removed, 1 directory restored, 1 directory moved back$/,
      ),
      '  remove   archive/',
      '  move     archive/october/ -> public/2026-10/',
      '  remove   archive/october/a.txt',
      '  remove   archive/october/sub/new.txt',
      '  restore  public/2026-10/a.txt',
      '  restore  public/deleted.txt',
      '  restore  public/empty/',
      '  restore  public/kept.txt',
      '  remove   public/renamed.txt',
      '  replace  public/replaced.txt',
    ]);
    expect(await everything(0)).toEqual(later);

    const done = await operator(...rewind, '--to', dumped, '--yes', '--json');
    expect(JSON.parse(done.at(-1) as string)).toMatchObject({
      event: 'rewind',
      removed: 3,
      restored: 3,
      replaced: 1,
      lost: 0,
    });
    expect(done).toHaveLength(11);
    for (const tracker of [0, 1]) expect(await everything(tracker)).toEqual(then);
    const trash = await cistern(['trash', 'list', '--json']);
    expect(
      trash
        .map((line) => JSON.parse(line))
        .map(({ key, reason }) => `${reason} ${key}`)
        .sort(),
    ).toEqual(['rewound archive/october/sub/new.txt', 'rewound public/replaced.txt']);

    await operator(...rewind, '--undo', '--yes');
    for (const tracker of [0, 1]) expect(await everything(tracker)).toEqual(later);
    expect(await operator('domain', 'rewinds', cluster().domain)).toHaveLength(2);
  });

  test('image derivatives that have no trash are made anew: no name is left without bytes, or with later ones', async () => {
    await operator('class', 'set', 'styles', '--prefix', 'styles/', '--no-trash');
    // The command spoke to the second tracker; the first one, which the uploads go to, reads of it within a second.
    await waitFor(
      async () => ((await (await put('styles/probe', 'x')).json()) as { class: string }).class === 'styles',
      { what: 'the first tracker to know the class' },
    );
    await api('DELETE', 'files/styles/probe');
    await put('styles/thumb/a.jpg', 'old thumbnail');
    await put('styles/thumb/b.jpg', 'thumbnail that stays');
    const dumped = await moment();
    await put('styles/thumb/a.jpg', 'new thumbnail');
    await put('styles/thumb/c.jpg', 'another');
    const plan = async () => {
      const body = { to: dumped, dryRun: true };
      const answer = await cluster().request('POST', path('rewinds'), { token: cluster().adminToken, body });
      return (await answer.json()) as { lost: number };
    };
    await waitFor(async () => (await plan()).lost === 1, {
      what: 'the bytes of the old thumbnail to be reaped',
    });
    const done = await operator('domain', 'rewind', cluster().domain, '--to', dumped, '--yes');
    expect(done[0]).toMatch(/: 1 file removed, 1 file lost$/);
    expect(done[1]).toBe('  lost     styles/thumb/a.jpg');
    expect(Object.keys(await everything(0))).toEqual(['styles', 'styles/thumb', 'styles/thumb/b.jpg']);
  });

  test('a time that is not known, in the future or malformed is refused', async () => {
    const rewind = async (body: object) => {
      const answer = await cluster().request('POST', path('rewinds'), { token: cluster().adminToken, body });
      return [answer.status, ((await answer.json()) as { detail?: string }).detail];
    };
    expect(await rewind({ to: '2020-01-01T00:00:00Z' })).toEqual([
      409,
      expect.stringMatching(/not known any more/),
    ]);
    expect(await rewind({ to: '2200-01-01T00:00:00Z' })).toEqual([
      400,
      expect.stringMatching(/in the future/),
    ]);
    expect(await rewind({ to: 'yesterday' })).toEqual([400, expect.stringMatching(/ISO 8601/)]);
    expect(await rewind({})).toEqual([400, expect.stringMatching(/'undo'/)]);
    const user = await cluster().request('POST', path('rewinds'), { body: { undo: true } });
    expect(user.status).toBe(403);
  });

  test('the same request again, with its Idempotency-Key, is not a second rewind', async () => {
    await put('x', '1');
    const to = await moment();
    const send = async () => {
      const headers = { 'idempotency-key': 'rewind-once' };
      const answer = await cluster().request('POST', path('rewinds'), {
        token: cluster().adminToken,
        body: { to },
        headers,
      });
      return answer.json();
    };
    const first = await send();
    await put('x', '2');
    expect(await send()).toEqual(first);
    expect(await everything(0)).toMatchObject({ x: { text: '2' } });
  });
});

describe('files were deleted by mistake', () => {
  const keys = async () => Object.keys(await everything(1)).filter((key) => key.includes('.'));

  test('what was deleted since a time comes back as it was last, and replaces nothing', async () => {
    for (const key of ['a.txt', 'b.txt', 'dir/c.txt', 'old.txt']) await put(key, 'first');
    await api('DELETE', 'files/old.txt');
    const since = await moment();
    await put('a.txt', 'last');
    for (const key of ['a.txt', 'b.txt']) await api('DELETE', `files/${key}`);
    await api('DELETE', 'directories/dir?recursive=true');
    await put('b.txt', 'someone was faster');
    const restored = await cistern(['trash', 'restore', '--since', since]);
    expect(restored.sort()).toEqual(["restored 'a.txt'", "restored 'dir/c.txt'"]);
    expect(await keys()).toEqual(['a.txt', 'b.txt', 'dir/c.txt']);
    expect(await everything(0)).toMatchObject({
      'a.txt': { text: 'last' },
      'b.txt': { text: 'someone was faster' },
    });
  });

  test('versions of a prefix, or older than a time, are given up in bulk', async () => {
    for (const key of ['in/1.txt', 'in/2.txt', 'out.txt']) {
      await put(key, key);
      await api('DELETE', `files/${key}`);
    }
    const before = await moment();
    await put('in/3.txt', 'x');
    await api('DELETE', 'files/in/3.txt');
    const left = async () =>
      (await cistern(['trash', 'list', '--json'])).map((line) => JSON.parse(line).key).sort();
    const purge = (...args: string[]) => cistern(['trash', 'purge', '--yes', ...args]);
    expect(await purge('--prefix', 'in/', '--older-than', before)).toEqual(['gave up 2 versions']);
    expect(await left()).toEqual(['in/3.txt', 'out.txt']);
    expect(await purge('--older-than', before)).toEqual(['gave up 1 version']);
    expect(await purge('--all')).toEqual(['gave up 1 version']);
    expect(await left()).toEqual([]);
    const asked = await runCistern(['trash', 'purge', '--all'], {
      env: {
        CISTERN_URL: cluster().trackers[0]?.url as string,
        CISTERN_DOMAIN: cluster().domain,
        CISTERN_TOKEN: cluster().token,
      },
    });
    expect([asked.code, asked.stderr]).toEqual([2, expect.stringContaining('--yes')]);
  });
});
