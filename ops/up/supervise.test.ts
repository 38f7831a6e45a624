import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitFor } from '../../test/support/wait.ts';
import { awaitEnd, record } from './processes.ts';
import { type Instance, startService } from './service.ts';
import { Supervised } from './supervise.ts';

// Says that it is ready when it is: a signal that comes before its listener would end it otherwise.
const SERVICE = `
process.stdin.resume().on('end', () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));
process.on('SIGUSR2', () => { console.error(JSON.stringify({ msg: 'it broke' })); process.exit(3); });
console.log(JSON.stringify({ service: 'test', url: 'http://127.0.0.1:1' }));
`;

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'cistern-supervise-'));
  writeFileSync(join(root, 'service.mjs'), SERVICE);
  writeFileSync(join(root, 'broken.mjs'), "console.error('CISTERN_HOST is not set'); process.exit(2);");
  writeFileSync(
    join(root, 'environment.mjs'),
    'console.error(JSON.stringify({ msg: JSON.stringify(process.env) })); process.exit(1)',
  );
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const start = (main = 'service.mjs', env = {}): Promise<Instance> =>
  startService({ name: 'the service', main: join(root, main), env, logFile: join(root, 'log') });

test('what dies is started again, with a line that says how it ended; what is stopped is not', async () => {
  const said: string[] = [];
  const child = new Supervised('the service', start, (line) => said.push(line));
  let changes = 0;
  await child.start(() => {
    changes++;
  });
  const first = child.pid;
  expect(changes).toBe(1);
  child.instance.kill('SIGUSR2');
  await waitFor(() => changes === 2, { what: 'the second start' });
  expect(child.pid).not.toBe(first);
  expect(said).toEqual([
    'the service ended (exit code 3: it broke); starting it again in 0.5 s',
    `the service is back (process ${child.pid})`,
  ]);
  child.instance.kill('SIGKILL');
  await waitFor(() => changes === 3, { what: 'the third start' });
  expect(said[2]).toBe('the service ended (signal SIGKILL); starting it again in 1 s');
  await child.stop();
  expect(await child.instance.exited).toBe('exit code 0');
  expect(said).toHaveLength(4);
});

test('a service that cannot start says why in one line', async () => {
  await expect(start('broken.mjs')).rejects.toThrow(
    'the service did not start (exit code 2: CISTERN_HOST is not set)',
  );
});

test('a service gets its own settings and none of those that happen to be set here', async () => {
  process.env.CISTERN_URL = 'http://elsewhere';
  try {
    await start('environment.mjs', { CISTERN_HOST: 'h1' }).catch(() => {});
  } finally {
    delete process.env.CISTERN_URL;
  }
  const log = readFileSync(join(root, 'log'), 'utf8').trim().split('\n').at(-1) as string;
  const env = JSON.parse(JSON.parse(log).msg) as Record<string, string>;
  expect(env.CISTERN_HOST).toBe('h1');
  expect(env.CISTERN_URL).toBeUndefined();
  expect(env.PATH).toBe(process.env.PATH);
});

test('a process of a former supervisor is waited for, and killed if it does not end', async () => {
  const left = await start();
  const recorded = record(left.pid);
  expect(recorded).toBeDefined();
  await awaitEnd([{ ...(recorded as { pid: number }), started: 'at another time' }], 0);
  expect(record(left.pid)).toEqual(recorded);
  await awaitEnd([recorded as { pid: number; started: string }], 100);
  expect(record(left.pid)).toBeUndefined();
  expect(await left.exited).toBe('signal SIGKILL');
});
