// docs/moving.md for sites that come from web servers kept in step by rsync, from MogileFS, or from another domain, and
// the way back: its commands are typed as they stand, in their order, and print what the page says. What it says of
// Drupal with Drush is run on real Drupal (test/drupal/moving-commands.ts).
import { execFile } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, it, onTestFinished, vi } from 'vitest';
import { useCluster } from './support/cluster.ts';
import { blocks, section } from './support/documents.ts';
import { FakeMogile } from './support/mogilefs.ts';
import { mountDevices, mysqlDump } from './support/mogilefs-dump.ts';

vi.setConfig({ testTimeout: 120_000 });

const PAGE = 'docs/moving.md';
const root = new URL('..', import.meta.url).pathname;
const cluster = useCluster();
/** Stands for the root directory of the page's machines. */
const machine = mkdtempSync(join(tmpdir(), 'cistern-moving-'));
afterAll(() => rmSync(machine, { recursive: true, force: true }));

function write(path: string, content: string | Buffer, at = '2026-01-01T00:00:00Z'): void {
  const full = join(machine, path);
  mkdirSync(dirname(full), { recursive: true });
  writeFileSync(full, content);
  utimesSync(full, new Date(at), new Date(at));
}

/** Types one block of commands. Returns what it printed, and the exit code of the last command. */
async function type(commands: string, replacements: Record<string, string> = {}) {
  const { PATH = '', HOME = '' } = process.env;
  const { trackers, adminToken } = cluster();
  const env = {
    PATH,
    HOME,
    CISTERN_URL: trackers[0]?.url,
    CISTERN_DOMAIN: 'demo',
    CISTERN_TOKEN: adminToken,
  };
  let lines = commands.replace(/(?<=[ =])\/(?=(mnt|srv|var)\/)/g, `${machine}/`);
  for (const [from, to] of Object.entries(replacements)) lines = lines.replaceAll(from, to);
  const script = `cistern() { "${process.execPath}" "${root}ops/main.ts" "$@"; }\n${lines}`;
  const ran = await promisify(execFile)('bash', ['--norc', '-uc', script], { cwd: root, env }).catch(
    (failed) => failed,
  );
  return { code: ran.code ?? 0, printed: ran.stdout as string, said: ran.stderr as string };
}

/** Types every block of a section; each prints what the block after it shows, if that shows something. */
async function typeSection(heading: string, codes: number[], replacements?: Record<string, string>) {
  const all = blocks(section(PAGE, heading));
  const typed = all.filter(({ language, text }) => language === 'sh' && text.startsWith('cistern '));
  expect(typed, heading).toHaveLength(codes.length);
  for (const [i, block] of typed.entries()) {
    const { code, printed, said } = await type(block.text, replacements);
    const next = all[all.indexOf(block) + 1];
    if (next?.language === '') expect(printed).toBe(next.text);
    expect(code, block.text + said).toBe(codes[i]);
  }
}

it('brings in what web servers have that were kept in step by rsync, and what is new in a second run', async () => {
  for (const head of ['head1', 'head2']) {
    write(`mnt/${head}/files/2026-10/logo.png`, 'a logo');
    write(`mnt/${head}/files/2026-10/terms.pdf`, 'terms');
    write(`mnt/${head}/files/css/aggregated.css`, '/* of one head */');
  }
  write('mnt/head1/files/2026-11/report.pdf', Buffer.alloc(47_900, 1), '2026-11-02T09:30:00Z');
  write('mnt/head2/files/2026-11/report.pdf', Buffer.alloc(48_211, 2), '2026-11-20T10:00:00Z');
  write('mnt/head1/files/2026-11/cat.jpg', 'only here');
  write('mnt/head2/files/2025-03/removed.jpg', 'removed on the other one');
  write(
    'known',
    'public://2026-10/logo.png\npublic://2026-10/terms.pdf\npublic://2026-11/cat.jpg\npublic://2026-11/report.pdf\n',
  );
  symlinkSync('/usr/share/doc', join(machine, 'mnt/head2/files/docs'));
  await typeSection('From web servers kept in step by rsync', [1, 1, 1, 0], {
    '--known known': `--known ${machine}/known`,
  });
});

it('takes the domains, classes and keys of a MogileFS', async () => {
  const mogile = new FakeMogile({ Images: { default: 2 }, docs: { default: 2 } });
  await mogile.start();
  onTestFinished(() => mogile.stop());
  for (const key of ['2026/a.jpg', '2026/b.jpg', '2026/c.jpg'])
    mogile.put('Images', key, Buffer.alloc(3_145_728));
  mogile.put('Images', 'logo.png', 'a logo');
  for (const key of ['terms.pdf', 'prices.pdf', '/slash']) mogile.put('docs', key, key);
  write('mogilefs.sql', mysqlDump(mogile));
  mountDevices(mogile, join(machine, 'mnt/mogdata'));
  await typeSection('From MogileFS', [1, 1], {
    'mogile1:7001,mogile2:7001': mogile.address,
    'mogilefs.sql': join(machine, 'mogilefs.sql'),
  });
});

it('copies a site, whose later writes are its own', async () => {
  expect(await type('cistern domain add prod')).toMatchObject({ code: 0 });
  write('srv/prod/2026-11/report.pdf', 'a report');
  write('srv/prod/2026-11/cat.jpg', 'a cat');
  await type('cistern import --domain prod --prefix public /srv/prod');
  await typeSection('Copies of a site for staging and development', [0, 0]);
});

it('goes back to a directory, which then is what the store is', async () => {
  await type('cistern import --prefix public /mnt/head1/files');
  for (const name of ['2026-10/logo.png', '2026-11/report.pdf', '2025-03/removed.jpg'])
    write(`var/www/html/sites/default/files/${name}`, name === '2026-10/logo.png' ? 'a logo' : 'of before');
  await typeSection('The way back', [0]);
  const back = (name: string) => readFileSync(join(machine, 'var/www/html/sites/default/files', name));
  expect(back('2026-11/cat.jpg').toString()).toBe('only here');
  expect(back('2026-11/report.pdf')).toHaveLength(47_900);
});
