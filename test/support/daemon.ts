// A server program (php-fpm, nginx, Apache) as a child process that runs in the foreground and ends when we do.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { delimiter, join } from 'node:path';
import { waitFor } from './wait.ts';

export interface DaemonOptions {
  command: string[];
  /** Its standard output and standard error are appended here. */
  logFile: string;
  /** It has started when this can be connected to: a port on 127.0.0.1, or the path of a Unix socket. */
  listens: number | string;
  env?: Record<string, string>;
}

const LOG_TAIL = 4_000;

export class Daemon {
  readonly #options: DaemonOptions;
  #child: ChildProcess | undefined;

  constructor(options: DaemonOptions) {
    this.#options = options;
  }

  /** @throws Error with the end of its log, if it ends or does not listen */
  async start(): Promise<this> {
    const { command, logFile, listens, env = {} } = this.#options;
    const log = openSync(logFile, 'a', 0o644);
    // Should this process be killed, the kernel tells the daemon, so that nothing is left behind.
    const child = spawn('setpriv', ['--pdeathsig', 'TERM', ...command], {
      env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin`, LANG: 'C.UTF-8', ...env },
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    this.#child = child;
    const failed = new Promise<never>((_, reject) => child.once('error', reject));
    failed.catch(() => {});
    const listening = waitFor(() => ended(child) || connects(listens), { what: `${command[0]} to listen` });
    await Promise.race([failed, listening]);
    if (ended(child)) throw new Error(`${command[0]} ended at once: ${this.log()}`);
    return this;
  }

  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error(`${this.#options.command[0]} does not run`);
    return this.#child.pid;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined || ended(child)) return;
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    const force = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await exited;
    clearTimeout(force);
  }

  /** The end of its log. */
  log(): string {
    const { logFile } = this.#options;
    return existsSync(logFile) ? readFileSync(logFile, 'utf8').slice(-LOG_TAIL) : '';
  }
}

function ended({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

function connects(listens: number | string): Promise<boolean> {
  const socket =
    typeof listens === 'number' ? createConnection(listens, '127.0.0.1') : createConnection(listens);
  return new Promise((resolve) => {
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
  }).finally(() => socket.destroy()) as Promise<boolean>;
}

/** The path of the first of these programs that is installed, on the PATH or where servers are kept. */
export function findProgram(...names: string[]): string | undefined {
  const places = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return names.flatMap((name) => places.map((place) => join(place, name))).find((path) => existsSync(path));
}
