// The programs that Cistern is measured beside, where the machine has them: pgbench, wrk and nginx (rsync is in rsync.ts).
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort } from '../../ops/up/ports.ts';

const execute = promisify(execFile);

type Program = 'pgbench' | 'wrk' | 'nginx' | 'rsync';

/** The program's path, or undefined if this machine lacks it. */
export function find(name: Program): string | undefined {
  const places = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return places.map((place) => join(place, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The version that a program says of itself; undefined if it is not there. */
export async function versionOf(name: Program): Promise<string | undefined> {
  const program = find(name);
  if (program === undefined) return undefined;
  // wrk prints its version together with its usage and fails; nginx prints to stderr.
  const { stdout, stderr } = await execute(program, [name === 'wrk' || name === 'nginx' ? '-v' : '-V']).catch(
    (error: { stdout: string; stderr: string }) => error,
  );
  return /\d+\.\d[\w.]*/.exec(`${stdout}${stderr}`)?.[0];
}

/** A disk that stalls may let no transaction end in a second or two: then more time is given, up to this. */
const LONGEST_SECONDS = 60;

/** Runs one statement as pgbench script, prepared, for `seconds`; transactions a second. `options`: PGOPTIONS. */
export async function pgbench(
  program: string,
  script: string,
  how: { database: string; concurrency: number; seconds: number; options?: string },
): Promise<number> {
  const { database, concurrency, seconds, options = '' } = how;
  const directory = mkdtempSync(join(tmpdir(), 'cistern-bench-'));
  const file = join(directory, 'script.sql');
  writeFileSync(file, script);
  const threads = Math.min(concurrency, 2);
  const args = [
    '-n',
    '-M',
    'prepared',
    '-f',
    file,
    '-c',
    concurrency,
    '-j',
    threads,
    '-T',
    seconds,
    database,
  ];
  try {
    const env = { ...process.env, PGOPTIONS: options };
    const { stdout } = await execute(program, args.map(String), { env });
    const tps = Number(/tps = ([\d.]+) \(without initial connection time\)/.exec(stdout)?.[1]);
    if (/transactions actually processed: 0$/m.test(stdout) && seconds < LONGEST_SECONDS) {
      return await pgbench(program, script, { ...how, seconds: seconds * 4 });
    }
    if (Number.isNaN(tps) || /number of failed transactions: [1-9]/.test(stdout)) throw new Error(stdout);
    return tps;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

export interface WrkOutcome {
  perSecond: number;
  /** Milliseconds. */
  p50: number;
  p99: number;
}

const WRK_SCRIPT = `
local requests, at = {}, 0
function init(args)
  for path in io.lines(args[1]) do requests[#requests + 1] = wrk.format('GET', path) end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
function done(summary, latency)
  local e = summary.errors
  local errors = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format('\\n{"errors":%d,"perSecond":%f,"p50":%f,"p99":%f}\\n', errors,
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end`;

/** GETs of `paths` at `origin`, in turn, by wrk. */
export async function wrk(
  program: string,
  origin: string,
  paths: string[],
  { concurrency, seconds }: { concurrency: number; seconds: number },
): Promise<WrkOutcome> {
  const directory = mkdtempSync(join(tmpdir(), 'cistern-bench-'));
  const [script, list] = [join(directory, 'wrk.lua'), join(directory, 'paths')];
  writeFileSync(script, WRK_SCRIPT);
  writeFileSync(list, `${paths.join('\n')}\n`);
  const threads = Math.min(concurrency, 2);
  try {
    const args = ['-t', threads, '-c', concurrency, '-d', seconds, '-s', script, origin, '--', list];
    const { stdout } = await execute(program, args.map(String));
    const said = JSON.parse(stdout.trim().split('\n').at(-1) as string) as WrkOutcome & { errors: number };
    if (said.errors > 0) throw new Error(`wrk had ${said.errors} errors: ${stdout}`);
    return said;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Runs `work` while an nginx serves the files below `root` on 127.0.0.1. */
export async function withNginx<T>(
  program: string,
  root: string,
  work: (origin: string) => Promise<T>,
): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'cistern-bench-'));
  const port = await freePort();
  const config = join(directory, 'nginx.conf');
  writeFileSync(
    config,
    `${process.getuid?.() === 0 ? 'user root;' : ''}
daemon off; worker_processes auto; pid ${directory}/pid; error_log stderr;
events { worker_connections 1024; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path ${directory}; proxy_temp_path ${directory}; fastcgi_temp_path ${directory};
  uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
  server { listen 127.0.0.1:${port}; root ${root}; }
}`,
  );
  const nginx = spawn(program, ['-c', config, '-e', 'stderr'], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  nginx.stderr.on('data', (chunk) => {
    said += chunk;
  });
  const ended = once(nginx, 'exit');
  try {
    const origin = `http://127.0.0.1:${port}`;
    for (let tries = 0; !(await answers(origin)); tries++) {
      if (nginx.exitCode !== null || tries > 100) throw new Error(`nginx did not start: ${said}`);
      await sleep(50);
    }
    return await work(origin);
  } finally {
    nginx.kill('SIGTERM');
    await ended;
    rmSync(directory, { recursive: true, force: true });
  }
}

function answers(origin: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = request(origin, (answer) => resolve(answer.resume() !== undefined));
    probe.on('error', () => resolve(false)).end();
  });
}
