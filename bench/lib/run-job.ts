// Runs a load job in a generator process of its own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import type { Job, Outcome } from '../load/jobs.ts';

const GENERATOR = new URL('../load/generator.ts', import.meta.url).pathname;

/** @throws Error with what the first failed operation was answered */
export async function runJob(job: Job): Promise<Outcome> {
  const child = spawn(process.execPath, [GENERATOR], { stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = once(child, 'exit');
  child.stdin.end(JSON.stringify(job));
  const [said, complained, [code]] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  if (code !== 0) throw new Error(`${job.kind}: ${complained.trim()}`);
  return JSON.parse(said) as Outcome;
}
