// A web head that runs Drupal: its settings.php, its servers side by side before one pool, and its command line.
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Cluster } from '../support/cluster.ts';
import { webConfiguration } from '../support/web-configuration.ts';
import { giveToPool, WebHead } from '../support/web-head.ts';
import type { CodeBase } from './code-base.ts';
import { NGINX } from './recipes.ts';

/** The ways to serve the site that are tested. 'gateway' is nginx with the configuration that takes PHP out of it. */
export const SERVERS = ['nginx', 'nginx with the gateway', 'Apache'] as const;
export type Server = (typeof SERVERS)[number];

const HASH_SALT = 'a-hash-salt-for-tests-that-all-heads-share';
// More than the 600 MiB of the largest upload.
const UPLOAD_LIMITS = { upload_max_filesize: '700M', post_max_size: '710M', max_execution_time: '300' };
const SETTINGS_AT_ONCE = { 'opcache.revalidate_freq': '0' };

export class Head extends WebHead {
  readonly database: string;
  readonly urls = new Map<Server, string>();

  constructor(name: string, directory: string, code: CodeBase, database: string) {
    const documentRoot = join(directory, 'code', code.documentRoot);
    super({ name, directory, documentRoot, ini: { ...UPLOAD_LIMITS, ...SETTINGS_AT_ONCE }, children: 8 });
    this.database = database;
  }

  url(server: Server): string {
    const url = this.urls.get(server);
    if (url === undefined) throw new Error(`head ${this.name} has no ${server}`);
    return url;
  }

  /** Writes settings.php; `more` is PHP for its end, as a rule the line that puts the files into Cistern. */
  configure(more: string, site = 'default'): void {
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
    const directory = join(this.documentRoot, 'sites', site);
    mkdirSync(directory, { recursive: true });
    giveToPool(directory);
    const file = join(directory, 'settings.php');
    rmSync(file, { force: true });
    writeFileSync(file, `${lines.join('\n')}\n`);
    chmodSync(file, 0o444);
  }

  /** Runs one of the rig's PHP scripts, or PHP code on the booted site. */
  script(name: string, args: string[] = []): Promise<string> {
    return this.php([join(this.directory, 'scripts', name), ...args]);
  }

  /** Runs PHP code on the booted site, which may be one in a sub-directory; returns what it printed. */
  run(code: string, basePath = ''): Promise<string> {
    return this.script('run.php', [code, basePath]);
  }

  /** Starts the pool and its servers; the gateway only if there is a cluster. */
  async start(cluster?: Cluster): Promise<void> {
    await this.startPhp();
    this.urls.set('nginx', await this.startNginx('usual', NGINX));
    this.urls.set('Apache', await this.startApache('usual', webConfiguration('apache/drupal.conf', {})));
    if (cluster !== undefined) this.urls.set('nginx with the gateway', await this.#startGateway(cluster));
  }

  async #startGateway(cluster: Cluster): Promise<string> {
    const words = {
      CISTERN_TRACKER: cluster.trackers.map(({ url }) => new URL(url).host),
      CISTERN_TOKEN: await cluster.makeToken({ prefix: 'public/', redirect: true }),
      CISTERN_PRIVATE_TOKEN: await cluster.makeToken({ prefix: 'private/' }),
      CISTERN_CACHE: join(this.directory, 'nginx/cache'),
      CISTERN_MAX_AGE: '300',
      CISTERN_DOMAIN: cluster.domain,
      CISTERN_PREFIX: 'public',
      FILES_PATH: '/sites/default/files',
      FRONT_CONTROLLER: '/index.php',
    };
    // This head's other servers have no such location: settings.php reads it from here.
    const php = NGINX.replace(
      'fastcgi_pass',
      `fastcgi_param CISTERN_X_ACCEL "/_cistern/";\n    fastcgi_pass`,
    );
    const server = webConfiguration('nginx/cistern-server.conf', words);
    return this.startNginx('gateway', server + php, webConfiguration('nginx/cistern-http.conf', words));
  }
}
