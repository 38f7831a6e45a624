// Runs the `cistern` command as its users do: another process, with its exit code and what it printed.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { buffer } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../ops/main.ts', import.meta.url));
// As the command itself does it (ops/bin): stripping the types at each start takes longer than most commands do.
const COMPILE_CACHE = fileURLToPath(new URL('../../node_modules/.cache/node', import.meta.url));

export interface Ran {
  code: number | null;
  stdout: string;
  stderr: string;
  /** stdout as it came, for files. */
  bytes: Buffer;
}

export interface RunOptions {
  /** Beside PATH and HOME; nothing of this process's own settings is passed on. */
  env?: Record<string, string>;
  cwd?: string;
  input?: string | Buffer;
  /** Sees the process as soon as it runs. */
  started?: (child: ReturnType<typeof spawn>) => void;
}

/** Runs `cistern ...args` to its end. The standard streams are pipes, so no terminal is there. */
export async function runCistern(args: string[], options: RunOptions = {}): Promise<Ran> {
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(process.execPath, [main, ...args], {
    env: { PATH, HOME, NODE_COMPILE_CACHE: COMPILE_CACHE, XDG_CONFIG_HOME: '/nonexistent', ...options.env },
    cwd: options.cwd,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  options.started?.(child);
  // A command that reads no input may be gone before all of it is written.
  child.stdin.on('error', () => {});
  child.stdin.end(options.input ?? '');
  const [stdout, stderr] = await Promise.all([
    buffer(child.stdout),
    buffer(child.stderr),
    child.exitCode === null && child.signalCode === null ? once(child, 'close') : undefined,
  ]);
  return { code: child.exitCode, stdout: stdout.toString(), stderr: stderr.toString(), bytes: stdout };
}
