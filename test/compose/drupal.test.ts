// The profile `drupal` of the compose file: two heads that come up ready to log in, share every file and no disk, take
// 600 MiB, run cron once, and can be lost with all that lies on them.
import { mkdtempSync, openAsBlob, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { freePort } from '../../ops/up/ports.ts';
import { type CodeBase, findCodeBase } from '../drupal/code-base.ts';
import { digestOf, makeHuge } from '../drupal/files.ts';
import { Visitor } from '../drupal/visitor.ts';
import { needs, skip } from '../support/needs.ts';
import { waitFor } from '../support/wait.ts';
import { lacksEngine, run } from './engine.ts';
import { Stack } from './stack.ts';

const HEADS = ['drupal1', 'drupal2'];
const REFUSED = /Read-only|Permission denied/;
const SERVERS = ['drupal1-web', 'drupal2-web', 'drupal-front'];
const stack = new Stack({ name: 'drupal', services: [...HEADS, ...SERVERS, 'drupal-cron'] });
const IMAGES = { code: 'cistern-drupal-code:test', drupal: 'cistern-drupal:test' };
const scratch = mkdtempSync(join(tmpdir(), 'cistern-compose-drupal-'));
const engine = await lacksEngine();
let lack = engine;
/** Of head 1, head 2 and what stands in front of both. */
let urls: [string, string, string];

beforeAll(async () => {
  // Where Composer has a mirror, it fetches Drupal, as for users who have the internet.
  const composer = process.env.COMPOSER_REPOSITORY !== undefined;
  const code = lack ?? (composer ? undefined : await findCodeBase());
  if (typeof code === 'string') {
    lack = code;
    return;
  }
  if (code !== undefined) await packCode(code);
  const ports = [await freePort(), await freePort(), await freePort()] as const;
  urls = ports.map((port) => `http://127.0.0.1:${port}`) as typeof urls;
  Object.assign(stack.env, {
    CISTERN_IMAGE: 'cistern:test',
    CISTERN_DRUPAL_IMAGE: IMAGES.drupal,
    DRUPAL_CODE: code === undefined ? 'composer' : IMAGES.code,
    DRUPAL1_PORT: String(ports[0]),
    DRUPAL2_PORT: String(ports[1]),
    DRUPAL_PORT: String(ports[2]),
  });
  await stack.up();
  // The content types, fields and editors that the tests on real Drupal have.
  await onHead('drupal1', 'site.php');
}, 1_800_000);
beforeEach((context) => {
  needs(context, engine);
  // A code base is nothing that CI installs.
  if (lack !== undefined) skip(context, lack);
});
afterEach(async ({ task }) => {
  if (task.result?.state === 'fail' && lack === undefined) process.stderr.write(await stack.logs());
});
afterAll(async () => {
  if (lack === undefined) await stack.down();
  rmSync(scratch, { recursive: true, force: true });
});

/** The image of 'a code base of your own', as docs/containers.md says. */
async function packCode({ directory }: CodeBase): Promise<void> {
  const dockerfile = join(scratch, 'Dockerfile');
  writeFileSync(dockerfile, 'FROM scratch\nCOPY . /drupal\n');
  await run('docker', ['build', '--quiet', '--tag', IMAGES.code, '--file', dockerfile, directory]);
}

/** Runs one of the PHP scripts of the tests on real Drupal in a head's container. */
async function onHead(service: string, script: string, ...args: string[]): Promise<string> {
  const code = await readFile(`test/drupal/php/${script}`, 'utf8');
  // What testcontainers runs in a container has no standard input of its own.
  const command = ['bash', '-c', 'php -- "$@" <<<"$0"', code, ...args];
  return stack.exec(service, command, { workingDir: '/srv/drupal/code/web' });
}

const php = (service: string, code: string) => onHead(service, 'run.php', code);

async function logIn(url: string, name: string, password = name): Promise<Visitor> {
  const visitor = new Visitor(url);
  expect((await visitor.logIn(name, password)).status).toBe(303);
  return visitor;
}

const administrator = async (url: string) =>
  logIn(url, 'admin', (await readFile(join(stack.secrets, 'drupal-admin.password'), 'utf8')).trim());

/** Writes an article with files. */
async function write(editor: Visitor, title: string, files: Record<string, File>): Promise<void> {
  const fields: Record<string, string | File> = { 'title[0][value]': title, op: 'Save' };
  for (const [field, file] of Object.entries(files)) fields[`files[${field}_0][]`] = file;
  const answer = await editor.submit('/node/add/article', 'node_article_form', fields);
  // What the form says if it is shown again.
  const said = answer.status === 303 ? '' : (await answer.text()).replace(/<[^>]+>|\s+/g, ' ');
  expect([answer.status, /.{0,80}Error message.{0,400}/.exec(said)?.[0] ?? said.slice(0, 400)]).toEqual([
    303,
    '',
  ]);
}

/** The files of these names that lie on the disks of all heads. */
async function onDisks(name: string): Promise<string> {
  const find = ['find', '/var/lib/drupal', '/srv/drupal', '-name', name];
  const found = HEADS.map((service) => stack.exec(service, find));
  return (await Promise.all(found)).join('');
}

it('runs nothing as root, on file systems that cannot be written to, within limits', async () => {
  const passwords = ['drupal.salt', 'drupal-admin.password', 'drupal-database.password'].map((name) =>
    readFile(join(stack.secrets, name), 'utf8'),
  );
  for (const service of [...HEADS, ...SERVERS, 'drupal-cron']) {
    const container = await stack.inspect(service);
    const { Config, HostConfig } = container;
    expect([service, Config.User]).toEqual([service, SERVERS.includes(service) ? 'nginx' : 'www-data']);
    expect(HostConfig.ReadonlyRootfs).toBe(true);
    expect(HostConfig.CapDrop).toEqual(['ALL']);
    expect(HostConfig.RestartPolicy?.Name).toBe('unless-stopped');
    expect(HostConfig.Memory).toBeGreaterThan(0);
    expect(HostConfig.NanoCpus).toBeGreaterThan(0);
    const all = JSON.stringify(container);
    for (const password of await Promise.all(passwords)) expect(all).not.toContain(password.trim());
  }
});

it('gives each head a copy of the code that it cannot change, and a disk of its own', async () => {
  const mounts = await Promise.all(
    HEADS.map(async (service) => {
      const { Mounts } = await stack.inspect(service);
      const ofDrupal = Mounts.filter(({ Destination }) => /^\/(srv|var\/lib)\/drupal$/.test(Destination));
      return ofDrupal.map(({ Name }) => Name);
    }),
  );
  expect(new Set(mounts.flat()).size).toBe(4);
  for (const service of HEADS) {
    for (const path of ['/srv/drupal/code/web/index.php', '/srv/drupal/new'])
      await expect(stack.exec(service, ['touch', path])).rejects.toThrow(REFUSED);
  }
});

it('is ready to log in at each head and in front of them, for its own names only', async () => {
  for (const url of urls) {
    const visitor = await administrator(url);
    // Each request may come to the other head, which knows the session.
    for (let n = 0; n < 4; n++) expect(await visitor.status('/admin/reports/status')).toBe(200);
    expect(await new Visitor(url).status('/admin/reports/status')).toBe(403);
  }
  const other = await run('curl', [
    '-so',
    '/dev/null',
    '-w',
    '%{http_code}',
    '-H',
    'Host: x.example',
    urls[2],
  ]);
  expect(other).toBe('400');
  for (const path of ['/composer.json', '/.release', '/core/install.php', '/sites/default/settings.php']) {
    expect([path, await new Visitor(urls[0]).status(path)]).toEqual([path, 404]);
  }
});

it('has no problem that its status report would tell', async () => {
  const page = await (await (await administrator(urls[1])).get('/admin/reports/status')).text();
  expect(page).toMatch(/2, all alike: drupal\d:\S+, drupal\d:/);
  expect(page).not.toContain('system-status-report__status-icon--error');
});

it('shows at once on one head what was uploaded at the other, from Cistern and no disk', async () => {
  await write(await logIn(urls[0], 'editor'), 'Two files', {
    field_huge: new File(['for everybody'], 'open.bin'),
    field_secret: new File(['for few'], 'closed.txt'),
  });
  const answer = await fetch(`${urls[1]}/sites/default/files/huge/open.bin`);
  expect([answer.status, await answer.text()]).toEqual([200, 'for everybody']);
  const [closed = ''] = (await keys()).filter((key) => key.endsWith('/closed.txt'));
  const path = closed.replace('private/', '/system/files/');
  const editor = await logIn(urls[1], 'editor');
  expect(await (await editor.get(path)).text()).toBe('for few');
  expect(await keys()).toEqual(expect.arrayContaining(['public/huge/open.bin', closed]));
  expect(await onDisks('open.bin')).toBe('');
  expect(await onDisks('closed.txt')).toBe('');
});

it('takes an upload of 600 MiB, in front and at a head', async () => {
  const { path, sha256 } = await makeHuge(scratch, 600);
  for (const [n, url] of [urls[2], urls[0]].entries()) {
    const name = `huge-${n}.bin`;
    const file = new File([await openAsBlob(path)], name);
    await write(await logIn(url, 'editor'), name, { field_huge: file });
    const answer = await fetch(`${urls[1]}/sites/default/files/huge/${name}`);
    expect(await digestOf(answer.body as AsyncIterable<Uint8Array>)).toBe(sha256);
    expect(await onDisks(name)).toBe('');
  }
  rmSync(path);
}, 900_000);

it('runs cron on one head, and never because somebody visits the site', async () => {
  const lastRun = async () =>
    Number(await php('drupal1', "echo \\Drupal::state()->get('system.cron_last');"));
  const running = () => php('drupal1', "echo \\Drupal::lock()->lockMayBeAvailable('cron') ? 'no' : 'yes';");
  await stack.compose('stop', 'drupal-cron');
  await php('drupal2', "\\Drupal::state()->set('system.cron_last', 0);");
  // Of a run that did not end in time when its container was stopped.
  await php('drupal2', "\\Drupal::database()->delete('semaphore')->condition('name', 'cron')->execute();");
  for (const url of urls) {
    const visitor = await administrator(url);
    for (const path of ['/', '/admin/content', '/admin/reports/status']) await visitor.status(path);
  }
  expect([await running(), await lastRun()]).toEqual(['no', 0]);
  for (const service of HEADS) {
    const { Processes } = await (await stack.container(service)).top();
    expect(JSON.stringify(Processes)).not.toContain('cron');
  }
  await stack.compose('start', 'drupal-cron');
  await waitFor(async () => (await lastRun()) > 0, { what: 'a run of cron', timeout: 120_000, every: 1_000 });
});

it('keeps everything when both heads are restarted, and when one is lost with its disk', async () => {
  const before = await keys();
  const whole = async () => {
    for (const url of urls) {
      const answer = await fetch(`${url}/sites/default/files/huge/open.bin`);
      expect([url, answer.status, await answer.text()]).toEqual([url, 200, 'for everybody']);
      const editor = await logIn(url, 'editor');
      expect(await (await editor.get('/node/1')).text()).toContain('closed.txt');
    }
    expect(await keys()).toEqual(before);
  };
  await stack.compose('restart', ...HEADS, ...SERVERS);
  await stack.healthy();
  await whole();

  await stack.compose('rm', '--stop', '--force', 'drupal2', 'drupal2-web', 'drupal2-code');
  // Meanwhile the other one serves the site alone.
  expect(await new Visitor(urls[2]).status('/user/login')).toBe(200);
  for (const volume of ['code2', 'head2']) await stack.removeVolume(volume);
  await stack.compose('up', '--detach', '--no-build');
  await stack.healthy();
  await whole();
}, 600_000);

/** Of the site's files in Cistern. */
async function keys(): Promise<string[]> {
  const printed = await stack.cistern('ls', '--recursive', '/', '--domain', 'drupal');
  return printed.trim().split('\n');
}
