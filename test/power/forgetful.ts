// Mounts forgetful.py: disks whose power can be cut.
import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { waitFor } from '../support/wait.ts';

// Debian's own Python, for which its packages are.
const PYTHON = '/usr/bin/python3';
/** The number of the capability (linux/capability.h). */
const CAP_SYS_ADMIN = 21n;
const program = new URL('./forgetful.py', import.meta.url).pathname;

/** For `needs`: why this machine cannot mount file systems of ours, whatever is installed. */
export function cannotMount(): string | undefined {
  if (!existsSync('/dev/fuse')) return 'the kernel has no FUSE here (/dev/fuse is missing)';
  const rights = /^CapEff:\s*(\w+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  const mayMount = (BigInt(`0x${rights}`) >> CAP_SYS_ADMIN) & 1n;
  return mayMount === 1n ? undefined : 'mounting is not allowed here (it needs CAP_SYS_ADMIN)';
}

/** For `needs`: what can be installed. */
export function lacksFusepy(): string | undefined {
  try {
    execFileSync(PYTHON, ['-c', 'import fusepy'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return "Debian's python3-fusepy is not installed";
  }
}

/** What survives of that which was not fsynced: nothing, all names but no bytes, or what a seed's choices keep. */
export type Cut = 'nothing' | 'names' | `seed-${string}`;

export class ForgetfulDisk {
  /** Where it is mounted. */
  readonly path = mkdtempSync(join(tmpdir(), 'cistern-forgetful-'));
  #child: ChildProcessByStdio<Writable, Readable, null> | undefined;
  #answers: Interface | undefined;

  async mount(): Promise<this> {
    const child = spawn(PYTHON, [program, this.path], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child = child;
    this.#answers = createInterface({ input: child.stdout });
    const mounted = () => readFileSync('/proc/mounts', 'utf8').includes(` ${this.path} `);
    await waitFor(
      () => {
        if (child.exitCode === null) return mounted();
        throw new Error(`forgetful.py ended with ${child.exitCode}`);
      },
      { what: 'the forgetful disk to be mounted' },
    );
    return this;
  }

  /** Cuts the power. Nobody may have a file open: whoever wrote is dead by then. */
  async cut(how: Cut): Promise<void> {
    const answer = once(this.#answers as Interface, 'line');
    this.#child?.stdin.write(`cut ${how}\n`);
    await answer;
  }

  async unmount(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const exited = once(child, 'exit');
    child.stdin.end();
    await exited;
    rmdirSync(this.path);
  }
}
