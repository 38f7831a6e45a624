// The packages as their users install them: into an empty prefix, run from elsewhere, by the machine's own Node and
// without this repository on the PATH.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { lacksProgram, needs } from './support/needs.ts';
import { packPhp } from './support/php-packages.ts';
import { createDatabase } from './support/postgres.ts';
import { waitFor } from './support/wait.ts';

const ROOT = join(import.meta.dirname, '..');
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
const root = mkdtempSync(join(tmpdir(), 'cistern-packages-'));
const prefix = join(root, 'prefix');
const home = join(root, 'home');
/** Only what the machine has, and what was installed; the Node in node_modules is not on it. */
const PATH = [
  join(prefix, 'bin'),
  ...(process.env.PATH ?? '').split(':').filter((at) => !at.includes('node_modules')),
].join(':');
const START_MS = 150_000;
/** Nothing is in a cache yet, and each command is a process of its own: on a busy machine that takes minutes. */
const TEST_MS = 400_000;
const ADMIN_TOKEN = 'the-admin-token-of-a-test';

afterAll(() => rmSync(root, { recursive: true, force: true }));

interface Result {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a command to its end, in an environment that knows nothing of this repository. */
async function run(command: string[], env: Record<string, string> = {}, cwd = home): Promise<Result> {
  const child = start(command, env, cwd);
  const [code] = await child.ended;
  return { code, stdout: child.stdout, stderr: child.stderr };
}

interface Started {
  child: ChildProcess;
  ended: Promise<[number | null]>;
  stdout: string;
  stderr: string;
}

function start([program = '', ...args]: string[], env: Record<string, string> = {}, cwd = home): Started {
  const child = spawn(program, args, { cwd, env: { PATH, HOME: home, LANG: 'C.UTF-8', ...env } });
  const started: Started = {
    child,
    ended: once(child, 'close') as Promise<[number | null]>,
    stdout: '',
    stderr: '',
  };
  child.stdout.on('data', (text) => {
    started.stdout += text;
  });
  child.stderr.on('data', (text) => {
    started.stderr += text;
  });
  return started;
}

/** Starts what prints a line of JSON when it is ready, for the length of a test. */
async function ready(command: string[], env: Record<string, string> = {}) {
  const started = start(command, env);
  onTestFinished(async () => {
    started.child.kill('SIGTERM');
    await started.ended;
  });
  const settled = () => started.stdout.endsWith('\n') || started.child.exitCode !== null;
  await waitFor(settled, { what: `${command[0]} to be ready`, timeout: START_MS });
  if (started.stdout === '') throw new Error(`${command[0]} ended: ${started.stderr}`);
  return JSON.parse(started.stdout) as { url: string; tracker: string };
}

describe('npm pack', () => {
  let lack: string | undefined;
  let listed: string[] = [];

  beforeAll(async () => {
    mkdirSync(home);
    // npm's own settings and cache, so that nothing is fetched twice.
    const env = process.env as Record<string, string>;
    const packed = await run(['npm', 'pack', '--pack-destination', root], env, ROOT);
    expect(packed, packed.stderr).toMatchObject({ code: 0 });
    const tarball = join(root, `cistern-${version}.tgz`);
    listed = execFileSync('tar', ['-tzf', tarball], { encoding: 'utf8' }).trim().split('\n');
    const install = [
      'npm',
      'install',
      '-g',
      '--prefix',
      prefix,
      '--prefer-offline',
      '--no-audit',
      '--no-fund',
    ];
    const done = await run([...install, tarball], { ...env, PATH }, home);
    const isAway = /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH)\b/.test(done.stderr);
    if (isAway) lack = 'the npm registry cannot be reached';
    else expect(done, done.stderr).toMatchObject({ code: 0 });
  }, 400_000);
  beforeEach((context) => needs(context, lack));

  it('has the program, what it reads, and the documentation; no source, no tests, and leaves nothing behind', () => {
    for (const file of readdirSync(join(ROOT, 'tracker/schema'))) {
      expect(listed).toContain(`package/dist/tracker/schema/${file}`);
    }
    expect(listed).toEqual(
      expect.arrayContaining([
        'package/README.md',
        'package/CHANGELOG.md',
        'package/docs/operations.md',
        'package/ops/prometheus/cistern.rules.yml',
        'package/ops/systemd/cistern-tracker.service',
      ]),
    );
    expect(listed.filter((name) => /\.ts$|\.test\.|\/testing\.|package\/(test|bench)\//.test(name))).toEqual(
      [],
    );
    expect(existsSync(join(ROOT, 'dist'))).toBe(false);
  });

  it("does what the README's first commands say, from any directory", { timeout: TEST_MS }, async () => {
    expect(await run(['cistern', '--version'])).toMatchObject({ code: 0, stdout: `${version}\n` });
    await ready(['cistern', 'up', '--port', '0', '--json']);
    writeFileSync(join(home, 'README.md'), '# Read me\n');
    expect(await run(['cistern', 'put', 'README.md', 'hello/README.md'])).toMatchObject({ code: 0 });
    expect(await run(['cistern', 'ls', 'hello'])).toMatchObject({ stdout: 'README.md\n' });
    expect(await run(['cistern', 'cat', 'hello/README.md'])).toMatchObject({ stdout: '# Read me\n' });
    expect(await run(['cistern', 'status'])).toMatchObject({ code: 0 });
    expect(readdirSync(prefix).sort()).toEqual(['bin', 'lib']);
  });

  it('starts services by their own commands, with secrets from files', { timeout: TEST_MS }, async () => {
    expect(await run(['cistern-tracker'])).toMatchObject({
      code: 2,
      stderr: /CISTERN_CLUSTER_KEY is not set/,
    });
    expect(await run(['cistern-storage-node'])).toMatchObject({ code: 2 });
    const database = await createDatabase();
    onTestFinished(() => database.drop());
    const secret = (name: string, value: string) => {
      writeFileSync(join(home, name), `${value}\n`, { mode: 0o600 });
      return join(home, name);
    };
    const common = { CISTERN_CLUSTER_KEY_FILE: secret('cluster.key', 'k'.repeat(64)), CISTERN_PORT: '0' };
    const tracker = await ready(['cistern-tracker'], {
      ...common,
      CISTERN_ADMIN_TOKEN_FILE: secret('admin.token', ADMIN_TOKEN),
      CISTERN_DATABASE_URL_FILE: secret('database.url', database.url),
    });
    for (const host of [1, 2]) {
      const device = join(home, `dev${host}`);
      mkdirSync(device);
      const own = { CISTERN_HOST: `h${host}`, CISTERN_DEVICES: device, CISTERN_RESERVE_BYTES: '1048576' };
      await ready(['cistern-storage-node'], { ...common, ...own, CISTERN_TRACKERS: tracker.url });
    }
    const as = {
      CISTERN_URL: tracker.url,
      CISTERN_TOKEN: ADMIN_TOKEN,
      CISTERN_DOMAIN: 'www',
    };
    expect(await run(['cistern', 'domain', 'add', 'www'], as)).toMatchObject({ code: 0 });
    await waitFor(async () => (await run(['cistern', 'status'], as)).code === 0, {
      what: 'a healthy cluster',
      timeout: START_MS,
    });
    expect(await run(['cistern', 'put', 'cluster.key', 'a/b'], as)).toMatchObject({ code: 0 });
    expect(await run(['cistern', 'cat', 'a/b'], as)).toMatchObject({ stdout: `${'k'.repeat(64)}\n` });
  });

  it('has units for systemd that it understands and finds well confined', async (context) => {
    needs(context, lacksProgram('systemd-analyze'));
    const units = join(prefix, 'lib/node_modules/cistern/ops/systemd');
    for (const name of ['cistern-tracker.service', 'cistern-storage-node.service']) {
      const text = readFileSync(join(units, name), 'utf8');
      const unit = join(root, name);
      // systemd looks for commands in /usr and /usr/local only.
      writeFileSync(unit, text.replace(/^ExecStart=/m, `ExecStart=${join(prefix, 'bin')}/`));
      expect(await run(['systemd-analyze', 'verify', '--man=no', unit])).toEqual({
        code: 0,
        stdout: '',
        stderr: '',
      });
      // 2.0 of 10; a unit that says nothing has 9.6.
      const confined = ['systemd-analyze', 'security', '--offline=true', '--threshold=20', unit];
      expect((await run(confined)).code, name).toBe(0);
    }
  });
});

describe('composer archive', () => {
  const artifacts = join(root, 'artifacts');
  const site = join(root, 'site');
  const composer = (args: string[], cwd: string) => {
    const env = {
      COMPOSER_ALLOW_SUPERUSER: '1',
      COMPOSER_HOME: join(root, 'composer'),
      COMPOSER_ROOT_VERSION: '1.0.0',
    };
    return run(['composer', '--no-interaction', ...args], env, cwd);
  };
  beforeEach((context) => {
    needs(context, lacksProgram('composer') ?? lacksProgram('php') ?? lacksProgram('unzip'));
  });

  it('gives the PHP package and the Drupal module, which Composer installs', async () => {
    mkdirSync(home, { recursive: true });
    mkdirSync(site);
    await packPhp(root, artifacts);
    expect(readdirSync(artifacts).sort()).toEqual([
      `cistern-cistern-${version}.zip`,
      `drupal-cistern-${version}.zip`,
    ]);
    const manifest = {
      repositories: [{ type: 'artifact', url: artifacts }, { 'packagist.org': false }],
      require: { 'cistern/cistern': `^${version}`, 'drupal/cistern': `^${version}` },
      // Drupal itself is not what is tested here: test/drupal is on the real one.
      provide: { 'drupal/core': '11.0.0' },
    };
    writeFileSync(join(site, 'composer.json'), JSON.stringify(manifest));
    const installed = await composer(['install'], site);
    expect(installed, installed.stderr).toMatchObject({ code: 0 });
    const vendor = (path: string) => readdirSync(join(site, 'vendor', path)).sort();
    expect(vendor('cistern/cistern')).toEqual(['LICENSE', 'composer.json', 'drupal', 'src', 'web']);
    expect(vendor('cistern/cistern/drupal')).toEqual(['autoload']);
    expect(vendor('drupal/cistern')).toEqual(
      expect.arrayContaining(['cistern.info.yml', 'cistern.module', 'src']),
    );
    const code = `require 'vendor/autoload.php';
      $options = new Cistern\\ClientOptions(trackers: ['http://127.0.0.1:9'], domain: 'www', token: 'x', retries: 0);
      Cistern\\StreamWrapper::register('cistern', new Cistern\\Client($options));
      echo (int) in_array('cistern', stream_get_wrappers()), (int) class_exists('Cistern\\Drupal\\TakeOver');`;
    expect(await run(['php', '-r', code], {}, site)).toMatchObject({ code: 0, stdout: '11' });
  });
});
