// The processes that a supervisor started, written down so that a later one can tell whether they still run.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Recorded {
  pid: number;
  /** When it started, as the system tells it: process numbers are used again. */
  started: string;
}

/** A process as it is to be remembered; undefined if it has ended. */
export function record(pid: number): Recorded | undefined {
  const started = startOf(pid);
  return started === undefined ? undefined : { pid, started };
}

/** Waits for processes that end by themselves, and kills those that do not within `patienceMs`. */
export async function awaitEnd(processes: Recorded[], patienceMs: number): Promise<void> {
  const deadline = Date.now() + patienceMs;
  for (const { pid, started } of processes) {
    while (startOf(pid) === started) {
      if (Date.now() > deadline) process.kill(pid, 'SIGKILL');
      await sleep(50);
    }
  }
}

function startOf(pid: number): string | undefined {
  if (process.platform !== 'linux') {
    const { status, stdout } = spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' });
    return status === 0 ? stdout.trim() : undefined;
  }
  try {
    // The second field is the program's name, which may hold anything; the state and the start time are fields 3
    // and 22 (proc(5)). A zombie has ended.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
