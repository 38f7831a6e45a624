// A Drupal site on two web heads: each with its own copy of the code and its own directories, one PostgreSQL, no
// shared disk; in front of each its web servers, side by side.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDatabase, type TestDatabase } from '../support/postgres.ts';
import { giveToPool, WebHead } from '../support/web-head.ts';
import type { CodeBase } from './code-base.ts';
import { APACHE, NGINX } from './recipes.ts';

/** The ways to serve the site that are tested. */
export const SERVERS = ['nginx', 'Apache'] as const;
export type Server = (typeof SERVERS)[number];

const PHP_SCRIPTS = new URL('php/', import.meta.url).pathname;
const PACKAGE = new URL('../../client-php-shim/', import.meta.url).pathname;
const PACKAGE_PLACE = 'vendor/cistern/cistern';
const HASH_SALT = 'a-hash-salt-for-tests-that-all-heads-share';
// More than the 600 MiB of the largest upload.
const UPLOAD_LIMITS = { upload_max_filesize: '700M', post_max_size: '710M', max_execution_time: '300' };

export interface RigOptions {
  code: CodeBase;
  /** PHP for the end of each head's settings.php. */
  settings?: string;
  profile?: string;
  /** Instead of an empty one on the tests' server. */
  database?: TestDatabase;
}

export class Head extends WebHead {
  readonly database: string;
  readonly urls = new Map<Server, string>();

  constructor(name: string, directory: string, code: CodeBase, database: string) {
    const documentRoot = join(directory, 'code', code.documentRoot);
    super({ name, directory, documentRoot, ini: UPLOAD_LIMITS, children: 8 });
    this.database = database;
  }

  url(server: Server): string {
    const url = this.urls.get(server);
    if (url === undefined) throw new Error(`head ${this.name} has no ${server}`);
    return url;
  }

  /** Writes settings.php; `more` is PHP for its end. */
  configure(more: string): void {
    const { username, password, hostname, port, pathname } = new URL(this.database);
    const connection = { driver: 'pgsql', namespace: 'Drupal\\pgsql\\Driver\\Database\\pgsql' };
    const access = {
      username,
      password: decodeURIComponent(password),
      host: hostname,
      port,
      database: pathname.slice(1),
    };
    const text = (value: string) => `'${value.replace(/[\\']/g, '\\$&')}'`;
    const pairs = Object.entries({
      ...connection,
      ...access,
      autoload: 'core/modules/pgsql/src/Driver/Database/pgsql/',
    });
    const lines = [
      '<?php',
      `$databases['default']['default'] = [${pairs.map(([key, value]) => `'${key}' => ${text(value)}`).join(', ')}];`,
      `$settings['hash_salt'] = ${text(HASH_SALT)};`,
      `$settings['config_sync_directory'] = ${text(this.makeDirectory('sync'))};`,
      `$settings['file_private_path'] = ${text(this.makeDirectory('private'))};`,
      `$settings['file_temp_path'] = ${text(join(this.directory, 'tmp'))};`,
      `$settings['php_storage']['twig']['directory'] = ${text(this.makeDirectory('twig'))};`,
      "$settings['trusted_host_patterns'] = ['^127\\.0\\.0\\.1$'];",
      "$settings['skip_permissions_hardening'] = true;",
      more,
    ];
    const file = join(this.documentRoot, 'sites/default/settings.php');
    rmSync(file, { force: true });
    writeFileSync(file, `${lines.join('\n')}\n`);
    chmodSync(file, 0o444);
  }

  /** Runs one of the rig's PHP scripts, or PHP code on the booted site. */
  script(name: string, args: string[] = []): string {
    return this.php([join(this.directory, 'scripts', name), ...args]);
  }

  /** Runs PHP code on the booted site; returns what it printed. */
  run(code: string): string {
    return this.script('run.php', [code]);
  }

  async start(): Promise<void> {
    await this.startPhp();
    this.urls.set('nginx', await this.startNginx('drupal', NGINX));
    this.urls.set('Apache', await this.startApache('drupal', APACHE));
  }
}

export class Rig {
  readonly heads: [Head, Head];
  readonly #root: string;
  readonly #database: TestDatabase;

  private constructor(root: string, database: TestDatabase, heads: [Head, Head]) {
    this.#root = root;
    this.#database = database;
    this.heads = heads;
  }

  /** Builds the heads, installs the site on the first one, and starts all servers. */
  static async build({ code, settings = '', profile = 'standard', ...rest }: RigOptions): Promise<Rig> {
    const root = mkdtempSync(join(tmpdir(), 'cistern-drupal-'));
    chmodSync(root, 0o755);
    const database = rest.database ?? (await createDatabase());
    const template = join(root, 'template');
    prepareCode(code, template);
    const build = (name: string) => buildHead(name, join(root, name), template, code, database.url);
    const rig = new Rig(root, database, [build('a'), build('b')]);
    try {
      for (const head of rig.heads) head.configure(settings);
      const [first] = rig.heads;
      first.script('install.php', [profile]);
      if (profile === 'standard') first.script('site.php');
      for (const head of rig.heads) await head.start();
      return rig;
    } catch (error) {
      const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
      process.stderr.write(`${stdout.slice(-4_000)}\n${stderr.slice(-4_000)}\n${rig.logs()}\n`);
      await rig.stop();
      throw error;
    }
  }

  logs(): string {
    return this.heads.map((head) => head.logs()).join('\n');
  }

  async stop(): Promise<void> {
    await Promise.all(this.heads.map((head) => head.stop()));
    await this.#database.drop();
    rmSync(this.#root, { recursive: true, force: true });
  }
}

/** Makes the code as it would be after `composer require cistern/cistern`. */
function prepareCode(code: CodeBase, to: string): void {
  execFileSync('cp', ['-a', code.directory, to]);
  // Packages come with all sorts of modes, and the pool's user must be able to read them.
  execFileSync('chmod', ['-R', 'a+rX', to]);
  for (const path of ['composer.json', 'src', 'drupal', 'web']) {
    if (!existsSync(join(PACKAGE, path))) continue;
    cpSync(join(PACKAGE, path), join(to, PACKAGE_PLACE, path), { recursive: true });
  }
  if (existsSync(join(PACKAGE, 'drupal/cistern')))
    cpSync(join(PACKAGE, 'drupal/cistern'), join(to, code.documentRoot, 'modules/contrib/cistern'), {
      recursive: true,
    });
  type Autoload = Record<string, string | string[]>;
  const { autoload } = readJson(join(PACKAGE, 'composer.json')) as { autoload: { 'psr-4': Autoload } };
  const places = Object.entries(autoload['psr-4']).map(([name, path]) => [name, `${PACKAGE_PLACE}/${path}`]);
  const project = readJson(join(to, 'composer.json'));
  const changed = { ...project, autoload: { 'psr-4': Object.fromEntries(places) } };
  writeFileSync(join(to, 'composer.json'), JSON.stringify(changed));
  const environment = { ...process.env, COMPOSER_ALLOW_SUPERUSER: '1' };
  execFileSync('composer', ['dump-autoload', '--quiet', '--no-scripts'], { cwd: to, env: environment });
}

function buildHead(
  name: string,
  directory: string,
  template: string,
  code: CodeBase,
  database: string,
): Head {
  mkdirSync(directory);
  chmodSync(directory, 0o755);
  link(template, join(directory, 'code'));
  cpSync(PHP_SCRIPTS, join(directory, 'scripts'), { recursive: true });
  const head = new Head(name, directory, code, database);
  giveToPool(join(head.documentRoot, 'sites/default'));
  head.makeDirectory(join('code', code.documentRoot, 'sites/default/files'));
  return head;
}

/** Copies a tree: directories are made, files are linked where one disk holds both. */
function link(from: string, to: string): void {
  try {
    execFileSync('cp', ['-al', from, to], { stdio: 'pipe' });
  } catch {
    rmSync(to, { recursive: true, force: true });
    execFileSync('cp', ['-a', from, to]);
  }
}

function readJson(path: string): Record<string, unknown> {
  return JSON.parse(readFileSync(path, 'utf8'));
}
