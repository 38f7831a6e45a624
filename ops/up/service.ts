// One service (tracker or storage node) as a child process, and what all our child processes have in common.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, openSync, readFileSync, renameSync, statSync } from 'node:fs';
import { createInterface } from 'node:readline';

/** A process that runs and answers. */
export interface Instance {
  pid: number;
  url: string;
  /** Resolves when it has ended, with how, in words. */
  exited: Promise<string>;
  kill(signal: NodeJS.Signals): void;
  /** Asks it to end cleanly and waits for that; after a grace period it is killed. */
  stop(): Promise<void>;
}

export interface ServiceOptions {
  /** What it is called in messages: `tracker 1`, `storage node h2`. */
  name: string;
  /** Path of its main file. */
  main: string;
  /** Its settings; no other `CISTERN_*` variable reaches it. */
  env: Record<string, string>;
  logFile: string;
}

// Buffers of a stream die young. With a small young generation the collector comes before there are many of them: the
// tracker's peak while a file of 1 GiB went up fell from 231 to 190 MiB.
const NODE_FLAGS = ['--max-semi-space-size=4'];
// glibc gives each of our many threads a heap of its own, and keeps what they free: another 10 MB.
const MALLOC_ARENAS = '2';
// Without it every start would strip the types from all modules anew: half of its time, and 20 MB.
const COMPILE_CACHE = new URL('../../node_modules/.cache/node', import.meta.url).pathname;
const LISTEN_MS = 60_000;
// Longer than a service gives itself (lifecycle.ts).
const GRACE_MS = 35_000;
const LOG_BYTES = 16 * 1024 * 1024;

/**
 * Starts a service and resolves when it listens. It ends when we do, however we end: it watches its standard input.
 * @throws Error with one line that says why it did not start
 */
export async function startService(options: ServiceOptions): Promise<Instance> {
  const log = openLog(options.logFile);
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('CISTERN_'));
  const child = spawn(process.execPath, [...NODE_FLAGS, options.main], {
    env: {
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      MALLOC_ARENA_MAX: MALLOC_ARENAS,
      ...Object.fromEntries(inherited),
      ...options.env,
      CISTERN_PARENT: 'stdin',
    },
    // In a process group of its own: a Ctrl-C is for us, and we stop the services in order.
    detached: true,
    stdio: ['pipe', 'pipe', log.fd],
  });
  log.close();
  child.stdin?.on('error', () => {});
  const exited = once(child, 'exit').then(([code, signal]) => wordsFor(code, signal, lastWords(log)));
  const timer = setTimeout(() => child.kill('SIGKILL'), LISTEN_MS);
  const listening = new Promise<string>((resolve) => {
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).once('line', (line) =>
      resolve((JSON.parse(line) as { url: string }).url),
    );
  });
  const failed = exited.then((how) => {
    throw new Error(`${options.name} did not start (${how})`);
  });
  // It may well fail later, when nobody waits for its start any more.
  failed.catch(() => {});
  const url = await Promise.race([listening, failed]).finally(() => clearTimeout(timer));
  return {
    pid: child.pid as number,
    url,
    exited,
    kill: (signal) => void child.kill(signal),
    async stop() {
      const force = setTimeout(() => child.kill('SIGKILL'), GRACE_MS);
      child.kill('SIGTERM');
      await exited;
      clearTimeout(force);
    },
  };
}

export interface Log {
  path: string;
  fd: number;
  /** Where this process's part begins. */
  from: number;
  close(): void;
}

/** Opens a log file for appending; one that has grown large is set aside first, so that two at most are kept. */
export function openLog(path: string): Log {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > LOG_BYTES) renameSync(path, `${path}.old`);
  const fd = openSync(path, 'a', 0o600);
  return { path, fd, from: fstatSync(fd).size, close: () => closeSync(fd) };
}

/** The last thing that a process wrote to its log (that matches `worst`, if any does); '' if it wrote nothing. */
export function lastWords(log: Log, worst = /"level":[56]0|^\w*Error\b|^[\w -]+: /): string {
  const lines = readFileSync(log.path).subarray(log.from).toString().trim().split('\n');
  const line = lines.findLast((text) => worst.test(text)) ?? lines.at(-1) ?? '';
  try {
    const { msg, err } = JSON.parse(line) as { msg?: string; err?: { message?: string } };
    return err?.message ?? msg ?? line;
  } catch {
    return line;
  }
}

/** How a process ended, in words for the operator. */
export function wordsFor(code: number | null, signal: NodeJS.Signals | null, last: string): string {
  const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
  return last === '' || code === 0 ? how : `${how}: ${last}`;
}
