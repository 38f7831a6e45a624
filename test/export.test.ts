// `cistern export`: a directory becomes what the store holds, and deletes only what it may.
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { jsonLines, useCistern } from './support/cistern.ts';
import { useCluster } from './support/cluster.ts';
import { waitFor } from './support/wait.ts';

vi.setConfig({ testTimeout: 180_000 });

const scratch = mkdtempSync(join(tmpdir(), 'cistern-export-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const dir = (name: string) => join(scratch, name);

type Line = Record<string, unknown> & { event: string; path: string };

describe('export', () => {
  const cluster = useCluster({ nodes: 2, devices: 1 });
  const { user } = useCistern(cluster);
  const url = (key: string) =>
    `/v1/domains/${cluster().domain}/files/${key.split('/').map(encodeURIComponent).join('/')}`;
  const put = async (key: string, body: string, headers: Record<string, string> = {}) => {
    expect((await cluster().request('PUT', url(key), { body, headers })).status).toBeLessThan(300);
  };
  const exporting = (args: string[], code = 0) => jsonLines<Line>(user(['export', '--json', ...args]), code);
  const done = (lines: Line[]) => lines.at(-1) as Line;

  test('files come with their times and modes, and the next pass takes what changed only', async () => {
    const mtime = '2020-02-03T04:05:06.789Z';
    await put('pub/a.txt', 'a', { 'cistern-mtime': mtime, 'cistern-meta': '{"mode":"0600"}' });
    await put('pub/deep/ümläut/line\nbreak', 'odd');
    await put('pub/setuid', 'x', { 'cistern-meta': '{"mode":"4755"}' });
    await put('other/b.txt', 'b');
    expect(done(await exporting(['--prefix', 'pub', dir('one')]))).toMatchObject({ files: 3, written: 3 });
    expect(readFileSync(dir('one/a.txt'), 'utf8')).toBe('a');
    expect(readFileSync(dir('one/deep/ümläut/line\nbreak'), 'utf8')).toBe('odd');
    const stats = lstatSync(dir('one/a.txt'));
    expect([Math.round(stats.mtimeMs), stats.mode & 0o7777]).toEqual([Date.parse(mtime), 0o600]);
    expect(lstatSync(dir('one/setuid')).mode & 0o7777).toBe(0o755);
    expect(done(await exporting(['--prefix', 'pub', dir('one')]))).toMatchObject({ written: 0, upToDate: 3 });

    await put('pub/a.txt', 'A, longer');
    writeFileSync(dir('one/deep/ümläut/line\nbreak'), 'was spoiled');
    const before = readdirSync(dir('one'));
    expect(done(await exporting(['--dry-run', '--prefix', 'pub', dir('one')]))).toMatchObject({ written: 2 });
    expect(done(await exporting(['--prefix', 'pub', dir('one')]))).toMatchObject({ written: 2, upToDate: 1 });
    expect(readFileSync(dir('one/a.txt'), 'utf8')).toBe('A, longer');
    expect(readFileSync(dir('one/deep/ümläut/line\nbreak'), 'utf8')).toBe('odd');
    expect(readdirSync(dir('one'))).toEqual(before);
  });

  test('what the store no longer holds goes only with --delete, and only where the export began', async () => {
    for (const key of ['del/stays', 'del/goes', 'del/sub/goes']) await put(key, key);
    await exporting(['--prefix', 'del', dir('two')]);
    await cluster().request('DELETE', url('del/goes'));
    expect((await user(['rm', '-r', 'del/sub'])).code).toBe(0);
    const kept = await exporting(['--prefix', 'del', dir('two')]);
    expect(
      kept
        .filter(({ event }) => event === 'extra')
        .map(({ path }) => path)
        .sort(),
    ).toEqual(['goes', 'sub']);
    expect(existsSync(dir('two/sub/goes'))).toBe(true);
    expect(done(await exporting(['--delete', '--prefix', 'del', dir('two')]))).toMatchObject({ deleted: 2 });
    expect(readdirSync(dir('two')).sort()).toEqual(['.cistern-export', 'stays']);

    // A directory with something of one's own in it is filled, but never cleaned.
    mkdirSync(dir('own'));
    writeFileSync(dir('own/mine'), 'mine');
    const refused = await user(['export', '--delete', '--prefix', 'del', dir('own')]);
    expect(refused).toMatchObject({ code: 2, stdout: '' });
    expect(done(await exporting(['--prefix', 'del', dir('own')]))).toMatchObject({ written: 1, extra: 1 });
    expect(readFileSync(dir('own/mine'), 'utf8')).toBe('mine');
    // Nor is one mirror turned into another by mistake.
    expect((await user(['export', '--delete', '--prefix', 'pub', dir('two')])).code).toBe(2);
  });

  test('a link in the way is not followed, and is told', async () => {
    await put('link/sub/file', 'from the store');
    mkdirSync(dir('outside'));
    mkdirSync(dir('three'));
    symlinkSync(dir('outside'), dir('three/sub'));
    const lines = await jsonLines<Line>(user(['export', '--json', '--prefix', 'link', dir('three')]), 1);
    expect(lines.find(({ event }) => event === 'failed')).toMatchObject({ path: 'sub' });
    expect(readdirSync(dir('outside'))).toEqual([]);
  });

  test('--watch follows until it is stopped', async () => {
    await put('watch/first', '1');
    let stop = () => {};
    const ran = user(['export', '--delete', '--watch', '1', '--prefix', 'watch', dir('four')], {
      started: (child) => {
        stop = () => child.kill('SIGINT');
      },
    });
    const there = (name: string) => existsSync(dir(`four/${name}`));
    await waitFor(() => there('first'), { what: 'the first pass' });
    await put('watch/sub/second', '2');
    await waitFor(() => there('sub/second'), { what: 'a file that came later' });
    await cluster().request('DELETE', url('watch/first'));
    await waitFor(() => !there('first'), { what: 'a file that was deleted' });
    stop();
    expect((await ran).code).toBe(130);
  });
});
