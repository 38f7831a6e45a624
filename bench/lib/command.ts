// Runs the `cistern` command against a bench's cluster, as its operator, and takes the time.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Cluster } from './cluster.ts';

// As users run it: its start is part of what they wait for.
const COMMAND = new URL('../../ops/bin/cistern.mjs', import.meta.url).pathname;

export interface Ran {
  /** From the start of the process to its end. */
  seconds: number;
  /** What it said last, of the lines of `--json`. */
  last: Record<string, unknown>;
}

/** @throws Error unless it ends with exit code 0 */
export async function runCommand({ tracker, adminToken }: Cluster, ...words: string[]): Promise<Ran> {
  const env = { ...process.env, CISTERN_URL: tracker, CISTERN_TOKEN: adminToken };
  const before = performance.now();
  const { stdout } = await promisify(execFile)(process.execPath, [COMMAND, ...words, '--json'], {
    env,
    maxBuffer: 64 * 1024 * 1024,
  });
  const seconds = (performance.now() - before) / 1000;
  const last = stdout.trim().split('\n').at(-1) ?? '{}';
  return { seconds, last: JSON.parse(last) as Record<string, unknown> };
}
