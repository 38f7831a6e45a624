// What docs/production.md shows of a rolling upgrade and of a disk that is replaced, done on a real cluster while clients
// write and read. With TRANSCRIPT set to a path, what was typed and what came is written there, for that page.
import { spawn } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { stripVTControlCharacters } from 'node:util';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Part, useCluster } from './support/cluster.ts';
import { lacksProgram, needs } from './support/needs.ts';
import { Traffic } from './support/traffic.ts';
import { waitFor } from './support/wait.ts';

const MAIN = new URL('../ops/main.ts', import.meta.url).pathname;
const TEST_MS = 300_000;
const cluster = useCluster({ trackers: 2 });
const transcript: string[] = [];
let traffic: Traffic;

beforeEach((context) => needs(context, lacksProgram('script')));
beforeAll(async () => {
  traffic = new Traffic(cluster()).start(2);
  await traffic.more();
});
afterAll(async () => {
  await traffic.stop();
  if (process.env.TRANSCRIPT !== undefined) writeFileSync(process.env.TRANSCRIPT, transcript.join('\n'));
});

/** Runs the command at a terminal. Returns what it printed; its exit code must be `code`. */
async function cistern(args: string[], code = 0): Promise<string> {
  const { PATH = '', HOME = '' } = process.env;
  const env = {
    PATH,
    HOME,
    XDG_CONFIG_HOME: '/nonexistent',
    CISTERN_URL: cluster()
      .trackers.map(({ url }) => url)
      .join(','),
    CISTERN_TOKEN: cluster().adminToken,
    CISTERN_DOMAIN: cluster().domain,
  };
  const line = [process.execPath, MAIN, ...args].join(' ');
  const child = spawn('script', ['-qec', line, '/dev/null'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.once('close', resolve));
  const printed = stripVTControlCharacters(await text(child.stdout))
    .replaceAll('\r\n', '\n')
    .trim();
  // What a progress line was drawn over is not what stands there in the end.
  const shown = printed.replace(/[^\n]*\r/g, '');
  transcript.push(`$ npx cistern ${args.join(' ')}`, ...(shown === '' ? [] : [shown]));
  expect([await ended, args], shown).toEqual([code, args]);
  return shown;
}

async function restart(part: Part): Promise<void> {
  transcript.push(
    `# ${part.name}: systemctl restart ${isTracker(part) ? 'cistern-tracker' : 'cistern-storage-node'}`,
  );
  await part.restart();
  await cluster().ready(60_000);
}

const isTracker = (part: Part) => cluster().trackers.includes(part);

/** What the clients saw since the last call: nothing may have failed. */
let counted = 0;
function count(): void {
  transcript.push(
    `# clients meanwhile: ${traffic.done - counted} requests, ${traffic.failures.length} failed`,
    '',
  );
  counted = traffic.done;
  expect(traffic.failures).toEqual([]);
}

test('a rolling upgrade', { timeout: TEST_MS }, async () => {
  counted = traffic.done;
  for (const part of [...cluster().trackers, ...cluster().nodes]) {
    await restart(part);
    await waitFor(async () => /^HEALTHY/.test(await verdict()), { what: 'a healthy cluster' });
  }
  expect(await cistern(['status'])).toMatch(/^HEALTHY/);
  await traffic.more();
  count();
});

/** The first line of `cistern status`, without a line in the transcript. */
async function verdict(): Promise<string> {
  const answer = await cluster().request('GET', '/v1/status', { token: cluster().adminToken });
  return ((await answer.json()) as { verdict: string }).verdict.toUpperCase();
}

test('a disk that is replaced', { timeout: TEST_MS }, async () => {
  const [, node] = cluster().nodes;
  if (node === undefined) throw new Error('there is no second node');
  const [lost] = node.devices;
  if (lost === undefined) throw new Error('it has no device');
  rmSync(lost.path, { recursive: true });
  await waitFor(async () => (await verdict()) !== 'HEALTHY', { what: 'the loss to be seen' });
  expect((await cistern(['status'], 1)).split('\n')[0]).toContain(`device ${lost.id} (h2) is out of service`);
  await cistern(['device', 'dead', String(lost.id), '--yes']);
  expect(await cistern(['repair'])).toMatch(/all have their copies/);
  await cistern(['device', 'rm', String(lost.id)]);
  transcript.push(
    '# h2: the new disk is mounted at …/dev7, and CISTERN_DEVICES names that in the place of …/dev3',
  );
  const place = lost.path.replace(/dev\d+$/, 'dev7');
  mkdirSync(place);
  node.devices[0] = { id: 7, path: place };
  node.configure({ CISTERN_DEVICES: node.devices.map(({ path }) => path).join(',') });
  await restart(node);
  expect(await cistern(['status'])).toMatch(/^HEALTHY/);
  await traffic.more();
  count();
});
