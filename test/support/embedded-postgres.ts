// A PostgreSQL of a test's own, for outages and failovers: it can be killed, and have standbys that follow it.
import { spawnSync } from 'node:child_process';
import { appendFile, chown, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { freePort } from '../../ops/up/ports.ts';
import { type PostgresInstance, startPostgres } from '../../ops/up/postgres.ts';

const PASSWORD = 'test';

/** Its data is in a temporary directory. */
export class EmbeddedServer {
  readonly #root: string;
  readonly #port: number;
  readonly #settings: Record<string, string>;
  #instance: PostgresInstance | undefined;

  private constructor(root: string, port: number, settings: Record<string, string>) {
    this.#root = root;
    this.#port = port;
    this.#settings = settings;
  }

  static async create(settings: Record<string, string> = {}): Promise<EmbeddedServer> {
    const server = await EmbeddedServer.#prepare(settings);
    await server.start();
    return server;
  }

  static async #prepare(settings: Record<string, string>): Promise<EmbeddedServer> {
    const root = await mkdtemp(join(tmpdir(), 'cistern-test-postgres-'));
    return new EmbeddedServer(root, await freePort(), settings);
  }

  /**
   * Makes a standby of this server, and starts it: by streaming replication it follows whatever this one is, a primary
   * or a standby itself. This one is stopped for a moment, so that its data can be copied.
   * @param name as which it can be listed in synchronous_standby_names
   */
  async standby(name: string): Promise<EmbeddedServer> {
    const server = await EmbeddedServer.#prepare(this.#settings);
    await this.stop();
    const copied = spawnSync('cp', ['-a', this.#data, server.#data]);
    if (copied.status !== 0) throw new Error(`cannot copy a database: ${copied.stderr}`);
    await this.start();
    const source = `host=127.0.0.1 port=${this.#port} user=cistern password=${PASSWORD} application_name=${name}`;
    // The last line of a setting counts.
    await appendFile(join(server.#data, 'postgresql.auto.conf'), `primary_conninfo = '${source}'\n`);
    const signal = join(server.#data, 'standby.signal');
    const { uid, gid } = await stat(server.#data);
    await writeFile(signal, '');
    await chown(signal, uid, gid);
    await server.start();
    return server;
  }

  /** Of the database `postgres`; the same after each start. */
  get url(): string {
    return this.#running.url;
  }

  get #data(): string {
    return join(this.#root, 'data');
  }

  get #running(): PostgresInstance {
    if (this.#instance === undefined) throw new Error('the server was never started');
    return this.#instance;
  }

  /** Runs SQL as the superuser, on a connection of its own. */
  async sql<Row extends object>(text: string, database = 'postgres', parameters = ''): Promise<Row[]> {
    const url = new URL(this.url);
    url.pathname = `/${database}`;
    url.search = parameters;
    const client = new pg.Client({ connectionString: url.href });
    client.on('error', () => {});
    await client.connect();
    try {
      return (await client.query<Row>(text)).rows;
    } finally {
      await client.end();
    }
  }

  /** Changes a setting, also of a standby, and has it take effect. */
  async set(name: string, value: string): Promise<void> {
    await this.sql(`ALTER SYSTEM SET ${name} = '${value}'`);
    await this.sql('SELECT pg_reload_conf()');
  }

  /** Ends recovery: a standby becomes a primary, on a new timeline. */
  async promote(): Promise<void> {
    await this.sql('SELECT pg_promote()');
  }

  /** A fast shutdown: sessions are cut off. */
  async stop(): Promise<void> {
    await this.#running.stop();
  }

  /** Stops all processes of the server where they are, or has them go on. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    const { pid } = this.#running;
    const children = spawnSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' }).stdout.split('\n');
    for (const one of [String(pid), ...children]) if (one !== '') process.kill(Number(one), signal);
  }

  /** kill -9. */
  async kill(): Promise<void> {
    this.#running.kill('SIGKILL');
    await this.#running.exited;
  }

  /** Starts it again, on the same port with the same data. */
  async start(): Promise<void> {
    const place = { directory: this.#data, logFile: join(this.#root, 'log'), port: this.#port };
    this.#instance = await startPostgres({ ...place, password: PASSWORD, settings: this.#settings });
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Stops it for good and removes its data. */
  async remove(): Promise<void> {
    await this.stop();
    await rm(this.#root, { recursive: true, force: true });
  }
}
