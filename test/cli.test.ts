// The `cistern` command against a real cluster: files there and back, directories, trash, administration, and the main
// line of repair: a node is lost, its devices are declared dead, and every file has its copies again.
import { createHash, randomBytes } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { jsonLines, useCistern } from './support/cistern.ts';
import { useCluster } from './support/cluster.ts';
import { waitFor } from './support/wait.ts';

// Each command is a process of its own, which a busy machine is slow to start.
vi.setConfig({ testTimeout: 180_000 });

const scratch = mkdtempSync(join(tmpdir(), 'cistern-cli-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

function local(name: string, bytes: Buffer | string): string {
  const path = join(scratch, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, bytes);
  return path;
}

describe('files', () => {
  const cluster = useCluster();
  const { user, admin } = useCistern(cluster);

  test('a file comes back as it was, small, large (straight to a node) and empty', async () => {
    for (const [name, size] of Object.entries({ empty: 0, small: 70_000, large: 9 * 1024 * 1024 })) {
      const bytes = randomBytes(size);
      const path = local(name, bytes);
      const [entry] = await jsonLines(user(['put', '--json', path, `there/${name}`]));
      expect(entry).toMatchObject({ key: `there/${name}`, size, sha256: sha256(bytes) });
      expect((await user(['get', `there/${name}`, join(scratch, 'back')])).code).toBe(0);
      expect(readFileSync(join(scratch, 'back')).equals(bytes), name).toBe(true);
      expect((await user(['cat', `there/${name}`])).bytes.equals(bytes), name).toBe(true);
    }
    const [tracked] = await jsonLines(
      user(['put', '--no-direct', '--json', join(scratch, 'large'), 'there/tracked']),
    );
    expect(tracked).toMatchObject({ sha256: sha256(readFileSync(join(scratch, 'large'))) });
  });

  test('standard input and output', async () => {
    const bytes = randomBytes(3_000_000);
    expect((await user(['put', '--type', 'text/x-sql', '-', 'dump.sql'], { input: bytes })).code).toBe(0);
    expect((await user(['get', 'dump.sql', '-'])).bytes.equals(bytes)).toBe(true);
    const [entry] = await jsonLines(user(['stat', '--json', 'dump.sql']));
    expect(entry).toMatchObject({ contentType: 'text/x-sql', size: bytes.length, sha256: sha256(bytes) });
  });

  test('a directory tree with odd names comes back exactly, with its times and empty directories', async () => {
    const names = [
      'a b.txt',
      '#?%+"\'.bin',
      'ümläut/日本😀',
      'line\nbreak',
      'deep/er/still',
      '-n',
      '\\back\\slash',
    ];
    const tree = new Map(names.map((name) => [name, randomBytes(200)]));
    for (const [name, bytes] of tree) {
      const path = local(join('tree', name), bytes);
      utimesSync(path, 1_600_000_000, 1_600_000_000);
    }
    mkdirSync(join(scratch, 'tree/empty'), { recursive: true });
    const stored = await jsonLines<{ key: string }>(
      user(['put', '--times', '--json', join(scratch, 'tree'), 'odd']),
    );
    expect(stored.map(({ key }) => key).sort()).toEqual(names.map((name) => `odd/${name}`).sort());

    const listed = await jsonLines<{ key: string; kind: string }>(user(['ls', '-r', '--json', 'odd']));
    const files = listed.filter(({ kind }) => kind === 'file').map(({ key }) => key);
    expect(files.sort()).toEqual(names.map((name) => `odd/${name}`).sort());
    expect(listed).toContainEqual(expect.objectContaining({ kind: 'directory', key: 'odd/empty' }));

    expect((await user(['get', '-r', '--times', 'odd', join(scratch, 'got')])).code).toBe(0);
    for (const [name, bytes] of tree) {
      const path = join(scratch, 'got', name);
      expect(readFileSync(path).equals(bytes), name).toBe(true);
      expect(statSync(path).mtimeMs, name).toBe(1_600_000_000_000);
    }
    expect(readdirSync(join(scratch, 'got')).sort()).toEqual(readdirSync(join(scratch, 'tree')).sort());
    expect((await user(['ls', 'odd/deep'])).stdout).toBe('er/\n');
    expect((await user(['ls', '-l', 'odd/ümläut/日本😀'])).stdout).toMatch(
      /^200\t2020-09-13T12:26:40.000Z\t.*\t日本😀\n$/,
    );
  });

  test('several into a directory; names change without bytes; what is deleted can be had back', async () => {
    const one = local('one.txt', 'one');
    const two = local('two.txt', 'two');
    expect((await user(['put', one, two, 'notes'])).stdout).toBe('stored 2 files, 6 B\n');
    expect((await user(['mv', 'notes/one.txt', 'notes/1.txt'])).code).toBe(0);
    expect((await user(['cp', 'notes/1.txt', 'notes/two.txt', 'copies/'])).code).toBe(0);
    expect((await user(['mv', 'copies', 'archive/2026'])).code).toBe(0);
    expect((await user(['ls', '-r', 'archive'])).stdout).toBe(
      'archive/2026/\narchive/2026/1.txt\narchive/2026/two.txt\n',
    );
    expect((await user(['cat', 'archive/2026/1.txt', 'archive/2026/two.txt'])).stdout).toBe('onetwo');

    expect((await user(['rm', 'notes/1.txt'])).code).toBe(0);
    const gone = await user(['cat', 'notes/1.txt']);
    expect(gone.code).toBe(1);
    expect(gone.stderr).toMatch(/^cistern: cannot read 'notes\/1.txt': .*; look with 'cistern ls'\n$/);
    const trash = await jsonLines<{ id: number; key: string }>(
      user(['trash', 'list', '--json', '--prefix', 'notes/']),
    );
    expect(trash).toEqual([expect.objectContaining({ key: 'notes/1.txt', reason: 'deleted' })]);
    expect((await user(['trash', 'restore', `${trash[0]?.id}`, '--to', 'notes/again.txt'])).code).toBe(0);
    expect((await user(['cat', 'notes/again.txt'])).stdout).toBe('one');

    const busy = await user(['rmdir', 'archive']);
    expect([busy.code, busy.stderr]).toEqual([1, expect.stringMatching(/cannot remove 'archive': .*-r\n$/)]);
    expect((await user(['rm', 'archive'])).code).toBe(1);
    expect((await user(['rm', '-r', 'archive'])).code).toBe(0);
    expect((await user(['ls', 'archive'])).code).toBe(1);
    expect((await user(['mkdir', 'x/y/z'])).code).toBe(0);
    expect((await user(['mkdir', '--no-parents', 'p/q'])).code).toBe(1);
    expect((await user(['rmdir', 'x/y/z', 'x/y', 'x'])).code).toBe(0);
  });

  test('an exclusive put, a move and a copy that must not replace, fail and leave the file as it was', async () => {
    expect((await user(['put', local('first', 'first'), 'held'])).code).toBe(0);
    const second = local('second', 'second');
    const large = local('large2', Buffer.alloc(9 * 1024 * 1024, 1));
    expect((await user(['put', second, 'other'])).code).toBe(0);
    const tries = [
      ['put', '--if-none-match', second, 'held'],
      ['put', '--if-none-match', large, 'held'],
      ['mv', '-n', 'other', 'held'],
      ['cp', '-n', 'other', 'held'],
    ];
    for (const args of tries) expect((await user(args)).code, args.join(' ')).toBe(1);
    expect((await user(['cat', 'held'])).stdout).toBe('first');
  });

  test('keys that are not valid are refused before anything is asked', async () => {
    for (const key of ['../x', 'a/../other', '/x', 'a//b']) {
      const ran = await user(['rm', key]);
      expect(ran.code, key).toBe(2);
      expect(ran.stderr).toMatch(/^cistern: cannot delete '.*': The key has /);
    }
    expect((await user(['stat', 'other'])).code).toBe(0);
  });

  test('domains, classes and tokens', async () => {
    expect((await admin(['domain', 'add', 'second.example', '--trash-days', '3'])).code).toBe(0);
    expect((await admin(['domain', 'add', 'second.example'])).code).toBe(1);
    expect((await admin(['domain', 'set', 'second.example', '--trash-days', '4'])).code).toBe(0);
    expect(await jsonLines(admin(['domain', 'list', '--json']))).toContainEqual(
      expect.objectContaining({ name: 'second.example', trashDays: 4 }),
    );
    const inSecond = { env: { CISTERN_DOMAIN: 'second.example' } };
    const set = ['class', 'set', 'thumbs', '--copies', '3', '--prefix', 'styles/,tiny/', '--no-trash'];
    expect((await admin(set, inSecond)).code).toBe(0);
    expect((await admin(['class', 'set', 'thumbs', '--min-copies', '1'], inSecond)).code).toBe(0);
    expect(await jsonLines(admin(['class', 'list', '--json'], inSecond))).toContainEqual({
      name: 'thumbs',
      copies: 3,
      minCopies: 1,
      prefixes: ['styles/', 'tiny/'],
      spread: 'host',
      trash: false,
    });

    const added = await admin([
      'token',
      'add',
      'reader',
      '--scopes',
      'read',
      '--domain',
      'second.example',
      '--expires',
      '1h',
    ]);
    const secret = added.stdout.trim();
    const reader = (args: string[], domain = 'second.example') =>
      admin(args, { env: { CISTERN_DOMAIN: domain, CISTERN_TOKEN: secret } });
    expect((await reader(['ls'])).code).toBe(0);
    expect((await reader(['ls'], 'demo')).code).toBe(2);
    expect((await reader(['mkdir', 'x'])).code).toBe(2);
    const tokens = await jsonLines<{ id: number; name: string }>(admin(['token', 'list', '--json']));
    const id = tokens.find(({ name }) => name === 'reader')?.id;
    expect((await admin(['token', 'rm', `${id}`])).code).toBe(0);
    await waitFor(async () => (await reader(['ls'])).code === 2, {
      what: 'the token to be refused',
      timeout: 30_000,
    });

    expect((await admin(['class', 'rm', 'thumbs'], inSecond)).code).toBe(0);
    expect((await admin(['domain', 'rm', 'second.example'])).code).toBe(0);
  });

  test('hosts and devices', async () => {
    expect((await admin(['host', 'zone', 'h1', 'rack-a'])).code).toBe(0);
    expect((await admin(['host', 'list'])).stdout).toMatch(/^h1\track-a\tup\t/m);
    expect((await admin(['device', 'weight', '1', '50'])).code).toBe(0);
    expect((await admin(['device', 'readonly', '1', '2'])).code).toBe(0);
    const devices = await jsonLines(admin(['device', 'list', '--json']));
    expect(devices.slice(0, 2)).toEqual([
      expect.objectContaining({ id: 1, host: 'h1', state: 'readonly', weight: 50 }),
      expect.objectContaining({ id: 2, state: 'readonly' }),
    ]);
    expect((await admin(['device', 'alive', '1', '2'])).code).toBe(0);
    expect((await admin(['host', 'drain', 'h1'])).code).toBe(0);
    const [host] = await jsonLines<{ name: string; devices: unknown[] }>(
      admin(['host', 'show', 'h1', '--json']),
    );
    expect(host).toMatchObject({ name: 'h1', zone: 'rack-a' });
    expect(host?.devices).toEqual([
      expect.objectContaining({ id: 1, state: 'drain', drain: expect.objectContaining({ empty: false }) }),
      expect.objectContaining({ id: 2, state: 'drain' }),
    ]);
    expect((await admin(['device', 'show', '1'])).stdout).toMatch(/^standing\tdraining: /m);
    expect((await admin(['device', 'rm', '1'])).stderr).toContain('wait until it is empty');
    expect((await admin(['host', 'alive', 'h1'])).code).toBe(0);
    expect((await admin(['device', 'list'])).stdout).not.toContain('drain');
    expect((await admin(['host', 'show', 'h9'])).stderr).toContain("there is no host 'h9'");
    expect((await admin(['device', 'revive', '1', '--yes'])).stderr).toContain('Only a dead one is revived');
    expect((await admin(['host', 'rm', 'h1'])).code).toBe(1);
    expect((await user(['device', 'list'])).code).toBe(2);
  });
});

describe('a node is lost', () => {
  const cluster = useCluster({ nodes: 4 });
  const { user, admin } = useCistern(cluster);

  test('status sees it, repair mends it, and every file has its copies on the hosts that are left', async () => {
    const files = new Map(Array.from({ length: 60 }, (_, i) => [`${i}.bin`, randomBytes(1000 + i * 500)]));
    for (const [name, bytes] of files) local(join('set', name), bytes);
    expect((await user(['put', join(scratch, 'set'), 'set'])).code).toBe(0);
    const before = await admin(['status']);
    expect(before.stdout).toMatch(/^verdict\thealthy\n/);
    expect(before.code).toBe(0);

    const lost = cluster().nodes[0];
    await lost?.kill();
    await waitFor(async () => (await admin(['status'])).code === 1, {
      what: 'status to see the loss',
      timeout: 60_000,
    });
    // While its devices are only down, their files lack copies and nobody has given them up.
    const waiting = await admin(['repair', '--patience', '3']);
    expect(waiting.code).toBe(1);
    expect(waiting.stdout).toMatch(/set\/\d+\.bin/);

    const ids = lost?.devices.map(({ id }) => `${id}`) ?? [];
    expect((await admin(['device', 'dead', ...ids, '--yes'])).code).toBe(0);
    const events = await jsonLines(admin(['repair', '--json']));
    expect(events[0]).toMatchObject({ event: 'scan' });
    expect(events.at(-1)).toEqual({ event: 'done', healthy: true, missing: 0 });

    // The second of the first holders is lost too: only the copies that repair made are left of many files.
    await cluster().nodes[1]?.kill();
    const got = await user(['get', '-r', 'set', join(scratch, 'saved')]);
    expect(got.stderr).toBe('');
    for (const [name, bytes] of files) {
      expect(readFileSync(join(scratch, 'saved', name)).equals(bytes), name).toBe(true);
    }
  });
});

describe('several trackers', () => {
  const cluster = useCluster({ trackers: 2, devices: 1 });
  const { user } = useCistern(cluster);

  test('a tracker that dies in the middle of many uploads costs none of them', async () => {
    const names = Array.from({ length: 150 }, (_, i) => `${i}.bin`);
    for (const name of names) local(join('many', name), randomBytes(20_000));
    const putting = user(['put', '--concurrency', '4', join(scratch, 'many'), 'many']);
    await waitFor(
      async () =>
        (await (await cluster().request('GET', '/v1/domains/demo/directories/many')).text()).includes('.bin'),
      { what: 'the first file' },
    );
    await cluster().trackers[0]?.kill();
    const put = await putting;
    expect(put.stderr).toBe('');
    expect(put.code).toBe(0);
    const listed = await jsonLines<{ key: string; sha256: string }>(user(['ls', '--json', 'many']));
    expect(listed.length).toBe(150);
    for (const { key, sha256: digest } of listed) {
      expect(digest, key).toBe(sha256(readFileSync(join(scratch, key))));
    }
  });
});
