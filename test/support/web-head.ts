// A web head: one php-fpm pool with local directories of its own, and web servers in front of it. As root the
// pool and the servers run as www-data, as they do on a Debian machine; else as whoever runs the tests.
import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from '../../ops/up/ports.ts';
import { Daemon, findProgram } from './daemon.ts';

const PHP_FPM = ['8.5', '8.4', '8.3', '8.2', '8.1'].map((version) => `php-fpm${version}`);
const asRoot = process.getuid?.() === 0;
const USER = 'www-data';

/** For `needs`: what a web head cannot do without. */
export function lacksWebServers(): string | undefined {
  if (findProgram('php') === undefined) return "the program 'php' is not installed";
  if (findProgram(...PHP_FPM) === undefined) return 'php-fpm is not installed';
  return findProgram('nginx') === undefined ? "the program 'nginx' is not installed" : undefined;
}

export interface WebHeadOptions {
  name: string;
  /** Everything of this head is kept below this directory; whoever may run the pool must be able to enter it. */
  directory: string;
  documentRoot: string;
  /** Beside or instead of the settings that every pool has: `memory_limit` and the like. */
  ini?: Record<string, string>;
  children?: number;
}

/** What php-fpm logged of a request. */
export interface PhpRequest {
  method: string;
  path: string;
  status: number;
  /** Of PHP's own memory, at its peak. */
  peakBytes: number;
  seconds: number;
}

export class WebHead {
  readonly name: string;
  readonly directory: string;
  readonly documentRoot: string;
  readonly #options: WebHeadOptions;
  readonly #daemons: Daemon[] = [];

  constructor(options: WebHeadOptions) {
    this.name = options.name;
    this.directory = options.directory;
    this.documentRoot = options.documentRoot;
    this.#options = options;
    for (const name of ['tmp', 'log', 'run', 'nginx', 'apache']) this.makeDirectory(name);
  }

  /** Makes a directory of this head's that its pool may write. Returns its path. */
  makeDirectory(name: string): string {
    const path = join(this.directory, name);
    mkdirSync(path, { recursive: true });
    chmodSync(path, 0o755);
    giveToPool(path);
    return path;
  }

  get socket(): string {
    return join(this.directory, 'run/php.sock');
  }

  async startPhp(): Promise<void> {
    const { name, directory, ini = {}, children = 6 } = this.#options;
    const settings: Record<string, string> = {
      memory_limit: '128M',
      sys_temp_dir: join(directory, 'tmp'),
      upload_tmp_dir: join(directory, 'tmp'),
      error_log: join(directory, 'log/php.log'),
      log_errors: 'on',
      display_errors: 'off',
      'opcache.max_accelerated_files': '20000',
      ...ini,
    };
    const lines = [
      '[global]',
      `pid = ${join(directory, 'run/php-fpm.pid')}`,
      `error_log = ${join(directory, 'log/php-fpm.log')}`,
      'daemonize = no',
      `[${name}]`,
      ...(asRoot
        ? [`user = ${USER}`, `group = ${USER}`, `listen.owner = ${USER}`, `listen.group = ${USER}`]
        : []),
      `listen = ${this.socket}`,
      'pm = static',
      `pm.max_children = ${children}`,
      `access.log = ${join(directory, 'log/requests.log')}`,
      'access.format = "%m %{REQUEST_URI}e %s %{bytes}M %{seconds}d"',
      'catch_workers_output = yes',
      ...Object.entries(settings).map(([key, value]) => `php_admin_value[${key}] = ${value}`),
    ];
    const configuration = join(directory, 'php-fpm.conf');
    writeFileSync(configuration, `${lines.join('\n')}\n`);
    const program = findProgram(...PHP_FPM) ?? 'php-fpm';
    await this.#start([program, '--nodaemonize', '--fpm-config', configuration], 'php', this.socket);
  }

  /**
   * Starts an nginx before the pool.
   * @param server what stands in `server {}`; in it, `PHP_SOCKET` is where the pool listens
   * @param http what stands in `http {}` beside it
   * @returns its URL
   */
  async startNginx(name: string, server: string, http = ''): Promise<string> {
    const port = await freePort();
    const directory = this.makeDirectory(join('nginx', name));
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
    const configuration = join(directory, 'nginx.conf');
    writeFileSync(
      configuration,
      `${asRoot ? `user ${USER};` : ''}
daemon off;
worker_processes 2;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log;
events { worker_connections 1024; }
http {
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  access_log ${directory}/access.log;
  sendfile on;
  ${temporary.map((kind) => `${kind}_temp_path ${directory}/${kind};`).join('\n  ')}
  ${http}
  server {
    listen 127.0.0.1:${port};
    server_name 127.0.0.1;
    root ${this.documentRoot};
    client_max_body_size 1g;
    ${server.replaceAll('PHP_SOCKET', `unix:${this.socket}`)}
  }
}
`,
    );
    const command = [findProgram('nginx') ?? 'nginx', '-e', `${directory}/error.log`, '-c', configuration];
    await this.#start(command, `nginx-${name}`, port);
    return `http://127.0.0.1:${port}`;
  }

  /**
   * Starts an Apache before the pool, with the modules that Debian's package switches on and those that PHP needs.
   * @param host what stands in `<VirtualHost>`
   * @returns its URL
   */
  async startApache(name: string, host: string): Promise<string> {
    const port = await freePort();
    const directory = this.makeDirectory(join('apache', name));
    const configuration = join(directory, 'apache.conf');
    writeFileSync(
      configuration,
      `${APACHE_MODULES.map((module) => `LoadModule ${module}_module /usr/lib/apache2/modules/mod_${module}.so`).join('\n')}
${asRoot ? `User ${USER}\nGroup ${USER}` : ''}
ServerRoot ${directory}
DefaultRuntimeDir ${directory}
PidFile ${directory}/apache.pid
ErrorLog ${directory}/error.log
CustomLog ${directory}/access.log common
TypesConfig /etc/mime.types
ServerName 127.0.0.1
Listen 127.0.0.1:${port}
<Directory />
  AllowOverride None
  Require all denied
</Directory>
<VirtualHost 127.0.0.1:${port}>
  DocumentRoot ${this.documentRoot}
  ${host.replaceAll('PHP_SOCKET', `unix:${this.socket}`).replaceAll('DOCUMENT_ROOT', this.documentRoot)}
</VirtualHost>
`,
    );
    const command = [findProgram('apache2') ?? 'apache2', '-DFOREGROUND', '-f', configuration];
    await this.#start(command, `apache-${name}`, port);
    return `http://127.0.0.1:${port}`;
  }

  async #start(command: string[], name: string, listens: number | string): Promise<void> {
    const daemon = new Daemon({ command, listens, logFile: join(this.directory, `log/${name}.out`) });
    this.#daemons.push(daemon);
    await daemon.start();
  }

  /**
   * Runs PHP on the command line, as the pool's user, in the document root.
   * @throws Error with what it printed, if its exit code is not 0
   */
  async php(args: string[], env: Record<string, string> = {}): Promise<string> {
    const prefix = asRoot ? ['runuser', '-u', USER, '--'] : [];
    const temporary = join(this.directory, 'tmp');
    const command = [...prefix, 'php', '-d', `sys_temp_dir=${temporary}`, '-d', 'memory_limit=512M', ...args];
    const { stdout } = await promisify(execFile)(command[0] as string, command.slice(1), {
      cwd: this.documentRoot,
      env: { PATH: process.env.PATH, HOME: temporary, LANG: 'C.UTF-8', ...env },
      maxBuffer: 64 * 1024 * 1024,
    });
    return stdout;
  }

  /** What the pool has answered so far. */
  requests(): PhpRequest[] {
    const file = join(this.directory, 'log/requests.log');
    const lines = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').filter(Boolean) : [];
    return lines.map((line) => {
      const [method = '', path = '', status, peak, seconds] = line.split(' ');
      return { method, path, status: Number(status), peakBytes: Number(peak), seconds: Number(seconds) };
    });
  }

  /** PHP's error log, and the end of what its servers printed. */
  logs(): string {
    const file = join(this.directory, 'log/php.log');
    const php = existsSync(file) ? readFileSync(file, 'utf8').slice(-8_000) : '';
    return `--- ${this.name}: PHP\n${php}\n${this.#daemons.map((daemon) => daemon.log()).join('\n')}`;
  }

  async stop(): Promise<void> {
    for (const daemon of this.#daemons.reverse()) await daemon.stop();
  }
}

/** Makes the pool's user the owner. */
export function giveToPool(path: string): void {
  if (!asRoot) return;
  const id = (flag: string) => Number(execFileSync('id', [flag, USER], { encoding: 'utf8' }));
  chownSync(path, id('-u'), id('-g'));
}

const APACHE_MODULES = [
  ...[
    'mpm_event',
    'authz_core',
    'authz_host',
    'access_compat',
    'alias',
    'autoindex',
    'deflate',
    'dir',
    'env',
  ],
  ...[
    'expires',
    'filter',
    'headers',
    'mime',
    'negotiation',
    'proxy',
    'proxy_fcgi',
    'reqtimeout',
    'rewrite',
    'setenvif',
  ],
];
