// `cistern up` as its user sees it: the real command, started, crashed and stopped.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Running } from '../ops/up/state.ts';
import { Up } from './support/up.ts';
import { waitFor } from './support/wait.ts';

const ROOT = new URL('..', import.meta.url).pathname;
const START_MS = 60_000;

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

let root: string;
let up: Up | undefined;
const state = () => join(root, 'state');
const start = (...args: string[]) => {
  up = new Up(state(), '--port', '0', '--json', ...args);
  return up;
};

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'cistern-up-'));
});
afterEach(({ task }) => {
  if (task.result?.state === 'fail') process.stderr.write(`${up?.stderr}\n`);
});
afterAll(async () => {
  if (up?.child.exitCode === null && up.child.signalCode === null) await up.exit('SIGTERM');
  rmSync(root, { recursive: true, force: true });
});

const request = (running: Running, method: string, key: string, body?: string) =>
  fetch(`${running.tracker}/v1/domains/${running.domain}/files/${key}`, {
    method,
    headers: { authorization: `Bearer ${running.token}` },
    ...(body !== undefined && { body }),
  });

describe('cistern up', () => {
  let running: Running;

  test('starts a cluster and then prints one line of JSON, and what it says is so', {
    timeout: START_MS,
  }, async () => {
    running = await start().ready();
    expect(Object.keys(running)).toEqual(['tracker', 'domain', 'token', 'nodes', 'database']);
    expect(running.nodes.map(({ host, devices }) => [host, devices.map(({ id }) => id)])).toEqual([
      ['h1', [1, 2]],
      ['h2', [3, 4]],
      ['h3', [5, 6]],
    ]);
    for (const { pid, url, devices } of running.nodes) {
      expect(isRunning(pid)).toBe(true);
      expect((await fetch(`${url}/readyz`)).status).toBe(200);
      for (const { path } of devices) expect(existsSync(join(path, 'cistern-device.json'))).toBe(true);
    }
    expect((await request(running, 'PUT', 'a/b.txt', 'first')).status).toBe(201);
    expect(await (await request(running, 'GET', 'a/b.txt')).text()).toBe('first');
  });

  test('keeps its secrets to itself', () => {
    for (const name of ['secrets.json', 'up.json', 'layout.json']) {
      expect(statSync(join(state(), name)).mode & 0o777).toBe(0o600);
    }
    for (const name of readFileSync(join(state(), 'logs/tracker-1.log'), 'utf8').split('\n')) {
      expect(name).not.toContain(running.token);
    }
  });

  test('a second start in the same place says so and ends', async () => {
    const second = new Up(state(), '--port', '0');
    expect(await second.exit()).toBe(1);
    expect(second.stdout).toBe('');
    expect(second.stderr.trim().split('\n')).toHaveLength(1);
    expect(second.stderr).toContain(`cistern up already runs in ${state()}: ${running.tracker}`);
    expect((await request(running, 'GET', 'a/b.txt')).status).toBe(200);
  });

  test('a taken port is one clear line', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const other = new Up(join(root, 'other'), '--port', String(port));
    expect(await other.exit()).toBe(1);
    expect(other.stderr).toContain(`cistern: port ${port} on 127.0.0.1 is taken; name another with --port`);
    server.close();
  });

  test('a node and PostgreSQL that are killed come back, at the same addresses', {
    timeout: START_MS,
  }, async () => {
    const before = up as Up;
    const node = running.nodes[1] as Running['nodes'][number];
    process.kill(node.pid, 'SIGKILL');
    const back = await waitFor(
      () =>
        (JSON.parse(readFileSync(join(state(), 'up.json'), 'utf8')) as Running).nodes.find(
          ({ host, pid }) => host === 'h2' && pid !== node.pid,
        ),
      { what: 'another process of h2' },
    );
    expect(back.url).toBe(node.url);
    expect(before.stderr).toContain('storage node h2 ended (signal SIGKILL');
    expect(before.stderr).toContain(`storage node h2 is back (process ${back.pid})`);

    const postmaster = readFileSync(join(state(), 'postgres/postmaster.pid'), 'utf8').split('\n')[0];
    process.kill(Number(postmaster), 'SIGKILL');
    await waitFor(() => before.stderr.includes('PostgreSQL is back'), { what: 'PostgreSQL' });
    const written = () => request(running, 'PUT', 'a/c.txt', 'second').then(({ ok }) => ok);
    await waitFor(written, { what: 'an upload that succeeds again' });
    running = JSON.parse(readFileSync(join(state(), 'up.json'), 'utf8')) as Running;
  });

  test('Ctrl-C stops every process, and a start afterwards has all that was there', {
    timeout: 2 * START_MS,
  }, async () => {
    expect(await up?.exit('SIGINT')).toBe(0);
    for (const { pid } of running.nodes) expect(isRunning(pid)).toBe(false);
    for (const gone of ['up.json', 'processes.json', 'postgres/postmaster.pid']) {
      expect(existsSync(join(state(), gone))).toBe(false);
    }
    const again = await start().ready();
    expect(again.token).toBe(running.token);
    expect(again.nodes.map(({ url }) => url)).toEqual(running.nodes.map(({ url }) => url));
    expect(await (await request(again, 'GET', 'a/b.txt')).text()).toBe('first');
    running = again;
  });

  test('after a kill -9 its services end by themselves, and the next start just works', {
    timeout: 2 * START_MS,
  }, async () => {
    const { pid: postmaster } = {
      pid: Number(readFileSync(join(state(), 'postgres/postmaster.pid'), 'utf8').split('\n')[0]),
    };
    await up?.exit('SIGKILL');
    const again = await start('--nodes', '4', '--trackers', '2').ready();
    for (const pid of [postmaster, ...running.nodes.map(({ pid }) => pid)])
      expect(isRunning(pid)).toBe(false);
    expect(again.nodes.at(-1)).toMatchObject({ host: 'h4', devices: [{ id: 7 }, { id: 8 }] });
    expect(again.trackers).toHaveLength(2);
    const [, second] = again.trackers;
    expect(await (await request({ ...again, tracker: second as string }, 'GET', 'a/c.txt')).text()).toBe(
      'second',
    );
    expect(await up?.exit('SIGTERM')).toBe(0);
  });

  test('Ctrl-C during the start ends it cleanly', async () => {
    const starting = start();
    await waitFor(() => starting.stderr.includes('starting PostgreSQL'), { what: 'the start' });
    expect(await starting.exit('SIGINT')).toBe(0);
    expect(existsSync(join(state(), 'postgres/postmaster.pid'))).toBe(false);
  });

  test('a SIGTERM to npm or npx stops what they started', { timeout: 2 * START_MS }, async () => {
    for (const command of [
      ['npm', 'start', '--silent', '--'],
      ['npx', 'cistern', 'up'],
    ]) {
      const [program = '', ...args] = [...command, '--state', state(), '--port', '0', '--json'];
      const npm = spawn(program, args, {
        cwd: ROOT,
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      const [line] = await once(npm.stdout, 'data');
      const { nodes } = JSON.parse(String(line)) as Running;
      const { pid } = JSON.parse(readFileSync(join(state(), 'up.json'), 'utf8')) as Running;
      npm.kill('SIGTERM');
      const pids = [pid, ...nodes.map((node) => node.pid)];
      await waitFor(() => !pids.some(isRunning), { what: `what ${program} started to end` });
    }
  });
});
