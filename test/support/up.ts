// `cistern up` as a child process.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Running } from '../../ops/up/state.ts';
import { waitFor } from './wait.ts';

const ROOT = join(import.meta.dirname, '../..');
const COMMAND = join(ROOT, 'ops/bin/cistern.mjs');
const START_MS = 60_000;

export class Up {
  readonly child: ChildProcess;
  readonly #exited: Promise<unknown[]>;
  stdout = '';
  stderr = '';

  constructor(state: string, ...args: string[]) {
    this.child = spawn(process.execPath, [COMMAND, 'up', '--state', state, ...args], { cwd: tmpdir() });
    this.#exited = once(this.child, 'close');
    this.child.stdout?.on('data', (chunk) => {
      this.stdout += chunk;
    });
    this.child.stderr?.on('data', (chunk) => {
      this.stderr += chunk;
    });
  }

  async ready(): Promise<Running> {
    const settled = () => this.stdout.endsWith('\n') || this.child.exitCode !== null;
    await waitFor(settled, { what: 'the cluster to be ready', timeout: START_MS });
    if (!this.stdout) throw new Error(`it ended: ${this.stderr}`);
    return JSON.parse(this.stdout) as Running;
  }

  async exit(signal?: NodeJS.Signals): Promise<number | null> {
    if (signal !== undefined) this.child.kill(signal);
    const [code] = await this.#exited;
    return code as number | null;
  }
}
