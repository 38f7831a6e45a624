// `cistern import`: directories become one truth in the store, whatever they hold; a second pass finds nothing to do.
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { jsonLines, useCistern } from './support/cistern.ts';
import { useCluster } from './support/cluster.ts';

vi.setConfig({ testTimeout: 180_000 });

const scratch = mkdtempSync(join(tmpdir(), 'cistern-import-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const OLD = 1_600_000_000;
const NEW = 1_700_000_000;

function write(path: string, content: string | Buffer, mtime = OLD, mode = 0o644): void {
  const full = join(scratch, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, content);
  chmodSync(full, mode);
  utimesSync(full, mtime, mtime);
}
const dir = (name: string) => join(scratch, name);

type Line = Record<string, unknown> & { event: string; path: string };

describe('import', () => {
  const cluster = useCluster();
  const { user } = useCistern(cluster);
  const importing = (args: string[], code = 0) => jsonLines<Line>(user(['import', '--json', ...args]), code);
  const done = (lines: Line[]) => lines.at(-1) as Line;
  const about = (lines: Line[], event: string) => lines.filter((line) => line.event === event);
  const content = async (key: string) => {
    const ran = await user(['cat', key]);
    return ran.code === 0 ? ran.stdout : undefined;
  };
  const stat = async (key: string) => (await jsonLines(user(['stat', '--json', key])))[0];

  test('a directory comes in with times, modes, odd names and empty directories, and back as it was', async () => {
    const names = [
      'a.txt',
      'deep/er/still.bin',
      'ümläut/日本😀',
      'line\nbreak',
      '#?%+"\'',
      '-n',
      '\\back',
      'empty file',
    ];
    for (const [i, name] of names.entries())
      write(`one/${name}`, i === 7 ? '' : `content of ${i}`, OLD + i, 0o640);
    write('one/large.bin', Buffer.alloc(9 * 1024 * 1024, 'large'));
    write('one/copy of large.bin', Buffer.alloc(9 * 1024 * 1024, 'large'), NEW);
    write('one/middle.bin', Buffer.alloc(300 * 1024, 'middle'));
    mkdirSync(dir('one/empty'));
    const dry = await importing(['--dry-run', '--prefix', 'one', dir('one')]);
    expect(done(dry)).toMatchObject({ dryRun: true, files: 11, stored: 11 });
    expect(await content('one/a.txt')).toBeUndefined();

    expect(done(await importing(['--prefix', 'one', '--concurrency', '1', dir('one')]))).toMatchObject({
      files: 11,
      stored: 10,
      copied: 1,
      notTaken: 0,
    });
    expect(await stat('one/a.txt')).toMatchObject({
      mtime: new Date(OLD * 1000).toISOString(),
      meta: { mode: '0640' },
      contentType: 'text/plain',
    });
    expect(await stat('one/copy of large.bin')).toMatchObject({ mtime: new Date(NEW * 1000).toISOString() });
    expect(await stat('one/empty')).toMatchObject({ kind: 'directory' });
    expect((await user(['get', '-r', '--times', 'one', dir('back')])).code).toBe(0);
    for (const name of [...names, 'large.bin', 'copy of large.bin', 'middle.bin']) {
      expect(readFileSync(dir(`back/${name}`)).equals(readFileSync(dir(`one/${name}`))), name).toBe(true);
      expect(statSync(dir(`back/${name}`)).mtimeMs, name).toBe(statSync(dir(`one/${name}`)).mtimeMs);
    }

    const again = done(await importing(['--prefix', 'one', dir('one')]));
    expect(again).toMatchObject({ files: 11, upToDate: 11, stored: 0, touched: 0 });
    // What is new is taken, what is the same but for time or mode is only told so, and nothing is deleted.
    write('one/new.txt', 'new');
    write('one/a.txt', 'content of 0', NEW, 0o600);
    rmSync(dir('one/-n'));
    expect(done(await importing(['--prefix', 'one', dir('one')]))).toMatchObject({ stored: 1, touched: 1 });
    expect(await stat('one/a.txt')).toMatchObject({
      mtime: new Date(NEW * 1000).toISOString(),
      meta: { mode: '0600' },
    });
    expect(await content('one/-n')).toBe('content of 5');
  });

  test('several directories: the union, the newest of each name, the others in the trash, each listed', async () => {
    write('h1/same.txt', 'same');
    write('h2/same.txt', 'same');
    write('h1/later.txt', 'the same bytes', OLD);
    write('h2/later.txt', 'the same bytes', NEW);
    write('h1/clash.txt', 'old of head1', OLD);
    write('h2/clash.txt', 'new of head2', NEW);
    write('h1/sub/only1.txt', 'only on head1');
    write('h2/sub/only2.txt', 'only on head2');
    write('h2/sub/derived.txt', 'not in the list');
    write(
      'known',
      'public://same.txt\npublic://sub/only1.txt\nprivate://secret\npublic://gone.txt\nsub/only2.txt\n',
    );
    const from = ['--from', `head1=${dir('h1')}`, '--from', `head2=${dir('h2')}`];
    const args = ['--prefix', 'public', '--known', dir('known'), ...from];
    const lines = await importing(args);
    expect(done(lines)).toMatchObject({
      files: 6,
      stored: 6,
      conflicts: 1,
      trashed: 1,
      partial: 3,
      missing: 1,
    });
    expect(about(lines, 'conflict')).toEqual([
      expect.objectContaining({
        path: 'clash.txt',
        kept: expect.objectContaining({ from: 'head2' }),
        others: [expect.objectContaining({ from: 'head1', now: 'trash' })],
      }),
    ]);
    expect(about(lines, 'partial').map(({ path, in: there, known }) => [path, there, known])).toEqual([
      ['sub/derived.txt', ['head2'], false],
      ['sub/only1.txt', ['head1'], true],
      ['sub/only2.txt', ['head2'], true],
    ]);
    expect(about(lines, 'missing')).toEqual([{ event: 'missing', path: 'gone.txt' }]);
    expect(await content('public/clash.txt')).toBe('new of head2');
    expect(await stat('public/later.txt')).toMatchObject({ mtime: new Date(NEW * 1000).toISOString() });
    const trash = await jsonLines<{ id: number; key: string; mtime: string }>(
      user(['trash', 'list', '--json', '--prefix', 'public/']),
    );
    expect(trash).toEqual([
      expect.objectContaining({ key: 'public/clash.txt', mtime: new Date(OLD * 1000).toISOString() }),
    ]);
    // The next pass tells the conflict again, and puts nothing into the trash a second time.
    expect(done(await importing(args))).toMatchObject({ stored: 0, upToDate: 6, conflicts: 1, trashed: 0 });
    expect((await user(['trash', 'restore', String(trash[0]?.id)])).code).toBe(0);
    expect(await content('public/clash.txt')).toBe('old of head1');
  });

  test('what the store holds takes part: the newer wins, the older is kept in the trash', async () => {
    write('live/newer-here.txt', 'of the directory', NEW);
    write('live/newer-there.txt', 'of the directory', OLD);
    for (const name of ['newer-here.txt', 'newer-there.txt']) {
      write(name, 'of the store', OLD + 1000);
      expect((await user(['put', '--times', dir(name), `live/${name}`])).code).toBe(0);
    }
    expect((await user(['put', dir('newer-here.txt'), 'live/only-there.txt'])).code).toBe(0);
    const lines = await importing(['--prefix', 'live', dir('live')]);
    expect(done(lines)).toMatchObject({ files: 2, stored: 1, upToDate: 1, conflicts: 2, trashed: 1 });
    expect(await content('live/newer-here.txt')).toBe('of the directory');
    expect(await content('live/newer-there.txt')).toBe('of the store');
    expect(await content('live/only-there.txt')).toBe('of the store');
    const trash = await jsonLines<{ key: string }>(user(['trash', 'list', '--json', '--prefix', 'live/']));
    expect(trash.map(({ key }) => key).sort()).toEqual(['live/newer-here.txt', 'live/newer-there.txt']);
  });

  test('what is never published is left out, each with its reason, unless everything is wanted', async () => {
    const never = {
      'private/secret.pdf': 'private',
      'php/twig/x.php': 'php',
      'css/a.css': 'css',
      'js/a.js': 'js',
      'translations/de.po': 'translations',
      'config_AbC/sync/site.yml': 'config_AbC',
      'staging/core.extension.yml': 'staging',
      'denied/file.txt': 'denied',
      '.htaccess': '.htaccess',
      'sub/.hidden': 'sub/.hidden',
      'dump.sql.gz': 'dump.sql.gz',
      'sub/site.sqlite': 'sub/site.sqlite',
      'tmp/x': 'tmp',
      'sub/upload.tmp': 'sub/upload.tmp',
    };
    for (const path of Object.keys(never)) write(`drupal/${path}`, 'never');
    write('drupal/denied/.htaccess', '# comment\n  Require all denied\n');
    write('drupal/open/.htaccess', '<Files ~ "\\.php$">\n  Require all denied\n</Files>\nOptions -Indexes\n');
    write('drupal/open/css/page.css', 'published');
    write('drupal/cat.jpg', 'published');
    const lines = await importing(['--prefix', 'd', dir('drupal')]);
    expect(done(lines)).toMatchObject({ files: 2, stored: 2, notTaken: 0 });
    const skipped = about(lines, 'skipped');
    expect(skipped.map(({ path }) => path).sort()).toEqual(
      [...Object.values(never), 'open/.htaccess'].sort(),
    );
    expect(skipped.every(({ why }) => typeof why === 'string' && why !== '')).toBe(true);
    // A directory that denies access as a whole is no public one.
    write('closed/.htaccess', 'Deny from all\n');
    write('closed/a.txt', 'private');
    expect(about(await importing(['--prefix', 'c', dir('closed')], 1), 'left')).toHaveLength(1);
    expect(done(await importing(['--everything', '--prefix', 'e', dir('drupal')]))).toMatchObject({
      files: Object.keys(never).length + 4,
      skipped: 0,
    });
    expect(await content('e/private/secret.pdf')).toBe('never');
  });

  test('what cannot be taken is listed, and the exit code says so', async () => {
    write('odd/good.txt', 'good');
    symlinkSync('good.txt', dir('odd/link'));
    const long = `odd/${'x'.repeat(200)}/${'y'.repeat(200)}/${'z'.repeat(200)}/${'w'.repeat(200)}/${'v'.repeat(200)}`;
    write(`${long}/${'u'.repeat(200)}`, 'too long');
    const invalid = Buffer.concat([Buffer.from(`${dir('odd')}/b`), Buffer.from([0xff, 0xfe])]);
    writeFileSync(invalid, 'no UTF-8');
    write('odd/fine\ufffdname', 'a replacement character of its own');
    const lines = await importing(['--prefix', 'odd', dir('odd')], 1);
    expect(
      about(lines, 'left')
        .map(({ why }) => String(why).split(';')[0])
        .sort(),
    ).toEqual(['a symbolic link', 'its key would be longer than 1024 bytes', 'its name is not valid UTF-8']);
    expect(done(lines)).toMatchObject({ files: 2, stored: 2, notTaken: 3 });
    const excluded = await importing(['--prefix', 'odd', '--exclude', 'link', dir('odd')], 1);
    expect(done(excluded)).toMatchObject({ notTaken: 2, upToDate: 2 });
  });

  test('with --delete, what no directory has any more goes to the trash, once all else was taken', async () => {
    for (const name of ['kept.txt', 'sub/gone.txt', 'whole/gone/1.txt', 'whole/gone/2.txt', 'only1.txt'])
      write(`g1/${name}`, name);
    write('g1/css/site.css', 'never published');
    write('g2/kept.txt', 'kept.txt');
    const from = ['--prefix', 'g', '--from', `a=${dir('g1')}`, '--from', `b=${dir('g2')}`];
    await importing(from);
    // What is left out here may be there for another reason.
    expect((await user(['put', dir('g1/css/site.css'), 'g/css/site.css'])).code).toBe(0);
    for (const name of ['sub/gone.txt', 'whole']) rmSync(dir(`g1/${name}`), { recursive: true });
    const gone = ['sub/gone.txt', 'whole/gone/1.txt', 'whole/gone/2.txt'];
    const paths = (lines: Line[], event: string) =>
      about(lines, event)
        .map(({ path }) => path)
        .sort();
    const stored = async () => (await user(['ls', '-r', 'g'])).stdout;

    expect(done(await importing(from))).toMatchObject({ deleted: 0, extra: 0 });
    expect(paths(await importing(['--dry-run', '--delete', ...from]), 'deleted')).toEqual(gone);
    symlinkSync('kept.txt', dir('g1/link'));
    expect(paths(await importing(['--delete', ...from], 1), 'extra')).toEqual(gone);
    expect(await stored()).toContain('whole/gone/1.txt');
    rmSync(dir('g1/link'));
    const lines = await importing(['--delete', ...from]);
    expect([paths(lines, 'deleted'), done(lines)]).toEqual([
      gone,
      expect.objectContaining({ deleted: 3, extra: 0, upToDate: 2, notTaken: 0 }),
    ]);
    expect(await stored()).not.toContain('gone');
    expect(await content('g/css/site.css')).toBe('never published');
    const trash = await jsonLines<{ key: string }>(user(['trash', 'list', '--json', '--prefix', 'g/']));
    expect(trash.map(({ key }) => key).sort()).toEqual(gone.map((path) => `g/${path}`));

    // An empty directory is more likely not mounted than a site without files.
    mkdirSync(dir('unmounted'));
    const refused = await user(['import', '--delete', ...from, '--from', `c=${dir('unmounted')}`]);
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining("'c' holds no file")]);
    expect(await content('g/kept.txt')).toBe('kept.txt');
  });

  test('wrong use: exit code 2', async () => {
    for (const args of [[], [dir('nowhere')], ['--from', `a=${scratch}`, '--from', `a=${scratch}`]]) {
      expect((await user(['import', ...args])).code).toBe(2);
    }
  });
});
