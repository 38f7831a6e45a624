// rsync over loopback: a daemon that serves a directory, and clients that copy from it.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort } from '../../ops/up/ports.ts';

/** Copies what is in `directories` (below the one that is served) into `target`, with these options; seconds. */
export type Copy = (directories: string[], target: string, ...options: string[]) => Promise<number>;

/** Runs `work` while an rsync daemon serves `root` on 127.0.0.1. */
export async function withRsync<T>(
  program: string,
  root: string,
  work: (copy: Copy) => Promise<T>,
): Promise<T> {
  const scratch = mkdtempSync(join(tmpdir(), 'cistern-bench-'));
  const port = await freePort();
  const config = join(scratch, 'rsyncd.conf');
  const owner = process.getuid?.() === 0 ? 'uid = root\ngid = root\n' : '';
  writeFileSync(config, `use chroot = no\n${owner}[root]\npath = ${root}\nread only = yes\n`);
  const daemon = spawn(
    program,
    ['--daemon', '--no-detach', '--address=127.0.0.1', `--port=${port}`, `--config=${config}`],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let said = '';
  daemon.stderr.on('data', (chunk) => {
    said += chunk;
  });
  const ended = once(daemon, 'exit');
  try {
    for (let tries = 0; !(await accepts(port)); tries++) {
      if (daemon.exitCode !== null || tries > 100) throw new Error(`rsync's daemon did not start: ${said}`);
      await sleep(50);
    }
    return await work(async (directories, target, ...options) => {
      const sources = directories.map((path) => `rsync://127.0.0.1:${port}/root/${path}/`);
      const before = performance.now();
      await promisify(execFile)(program, [...options, ...sources, target]);
      return (performance.now() - before) / 1000;
    });
  } finally {
    daemon.kill('SIGTERM');
    await ended;
    rmSync(scratch, { recursive: true, force: true });
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(port, '127.0.0.1', () => resolve(probe.destroy() !== undefined));
    probe.on('error', () => resolve(false));
  });
}
