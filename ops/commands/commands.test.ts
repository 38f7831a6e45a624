// The command as a process, against a tracker that says what the test wants: exit codes, lines on stderr, output.
import { spawn } from 'node:child_process';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test, vi } from 'vitest';
import { Problem } from '../../services/problems.ts';
import { runCistern } from '../../test/support/command.ts';
import { lacksProgram, needs } from '../../test/support/needs.ts';

// Each command is a process of its own, which a busy machine is slow to start.
vi.setConfig({ testTimeout: 120_000 });

async function tracker(listener: RequestListener): Promise<Record<string, string>> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { CISTERN_URL: url, CISTERN_DOMAIN: 'd', CISTERN_TOKEN: 't' };
}

const answer = (value: unknown, status = 200): RequestListener => {
  return (request, response) => {
    request.resume();
    response.writeHead(status).end(JSON.stringify(value));
  };
};

const wellBeing = {
  cluster: 'c',
  trackers: [{ url: 'http://t:1', version: '0.1.0', seen: new Date().toISOString(), self: true }],
  database: { server: '10.0.0.10:5432', version: '18.4', latencyMs: 0.5, size: 1 },
  hosts: [],
  rebalance: {
    enabled: false,
    started: '2026-11-01T10:00:00.000Z',
    finished: null,
    movedBlobs: 3,
    movedBytes: 1536,
    why: null,
  },
  devices: [],
  files: {
    domains: 1,
    underReplicated: 0,
    withoutCopy: 0,
    oldestRepair: null,
    queued: 0,
    removing: 0,
    reaping: 0,
  },
};

test('wrong use is exit code 2 and one line that says what to do', async () => {
  for (const args of [
    ['frobnicate'],
    ['ls', '--frobnicate'],
    ['put', '--concurrency', '0', 'a', 'b'],
    ['stat'],
  ]) {
    const ran = await runCistern(args);
    expect(ran.code, args.join(' ')).toBe(2);
    expect(ran.stderr).toMatch(/^cistern: .*; see 'cistern --help'\n$/);
    expect(ran.stdout).toBe('');
  }
});

test('without a cluster a command says how to name one', async () => {
  const ran = await runCistern(['ls'], { cwd: '/' });
  expect(ran.code).toBe(2);
  expect(ran.stderr).toMatch(/^cistern: no tracker is named; start one here with 'cistern up'.*\n$/);
});

test('what is refused is one line with the words of the tracker, never a stack trace', async () => {
  const env = await tracker(answer(new Problem('not-authenticated', 'The token is not known.'), 401));
  const ran = await runCistern(['cat', 'a', 'b'], { env });
  expect(ran).toMatchObject({ code: 2, stdout: '' });
  // The second file would fare no better.
  expect(ran.stderr).toBe(
    "cistern: cannot read 'a': The token is not known; give a token that is valid: --token, CISTERN_TOKEN or a profile\n",
  );
});

test('a file that fails does not keep the others from being done, and counts in the end', async () => {
  const env = await tracker((request, response) => {
    if (request.url?.endsWith('/gone'))
      answer(new Problem('file-not-found', 'There is no such file.'), 404)(request, response);
    else response.writeHead(204).end();
  });
  const ran = await runCistern(['rm', '--json', 'x', 'gone', 'y'], { env });
  expect(ran.code).toBe(1);
  expect(ran.stderr).toBe("cistern: cannot delete 'gone': There is no such file; look with 'cistern ls'\n");
  expect(ran.stdout).toBe('{"deleted":"x"}\n{"deleted":"y"}\n');
  expect((await runCistern(['rm', '-f', 'gone'], { env })).code).toBe(0);
});

test('status: 0 healthy, 1 not, 2 could not look', async () => {
  const healthy = await tracker(answer({ ...wellBeing, verdict: 'healthy', reasons: [] }));
  const fine = await runCistern(['status'], { env: healthy });
  expect(fine.code).toBe(0);
  expect(fine.stdout).toMatch(/^verdict\thealthy\n/);

  const reasons = [{ what: '12 files have one copy left', next: 'cistern repair' }];
  const degraded = await tracker(answer({ ...wellBeing, verdict: 'degraded', reasons }));
  const ill = await runCistern(['status'], { env: degraded });
  expect(ill.code).toBe(1);
  expect(ill.stdout).toMatch(/^verdict\tdegraded\nreason\t12 files have one copy left\tcistern repair\n/);
  const json = await runCistern(['status', '--json'], { env: degraded });
  expect(JSON.parse(json.stdout)).toMatchObject({ verdict: 'degraded', reasons });

  for (const problem of [
    new Problem('database-unavailable'),
    new Problem('not-permitted'),
    new Problem('not-found'),
  ]) {
    const blind = await runCistern(['status'], { env: await tracker(answer(problem, problem.status)) });
    expect(blind.code, problem.problem).toBe(2);
    expect(blind.stderr).toMatch(/^cistern: cannot see the status: .*\n$/);
  }
  const nobody = await runCistern(['status'], { env: { CISTERN_URL: 'http://127.0.0.1:1' } });
  expect(nobody).toMatchObject({ code: 2, stdout: '' });
});

test('on a terminal, status is a screen that begins with the verdict and ends with what to do', async (context) => {
  needs(context, lacksProgram('script'));
  const reasons = [{ what: 'h2 is \u001b[2Jdown', next: 'cistern host list' }];
  const used = { host: 'h1', observed: 'up', condition: 'ok', weight: 100, errors: 0, quarantined: 0 };
  const space = { total: 100, free: 50, blobs: 7 };
  const drain = { empty: false, replicas: 7, bytes: 50, rate: 5, secondsLeft: 10 };
  const devices = [
    { id: 3, state: 'drain', ...used, ...space, drain },
    { id: 4, state: 'drain', ...used, ...space, drain: { empty: true, replicas: 0, bytes: 0 } },
  ];
  const env = await tracker(answer({ ...wellBeing, devices, verdict: 'unhealthy', reasons }));
  const main = new URL('../main.ts', import.meta.url).pathname;
  const child = spawn('script', ['-qec', `'${process.execPath}' '${main}' status`, '/dev/null'], {
    env: { PATH: process.env.PATH, TERM: 'xterm', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const screen = await text(child.stdout);
  expect(screen.startsWith('\u001b[1m\u001b[31mUNHEALTHY\u001b[39m\u001b[22m: h2 is \\e[2Jdown')).toBe(true);
  expect(screen).toContain('database  PostgreSQL 18.4 at 10.0.0.10:5432, answers in 0.5 ms');
  expect(screen).toMatch(/^rebalance switched off; began .*, 3 files, 1.5 KiB moved\r?$/m);
  expect(screen).toContain('draining: 7 copies (50 B) left, 5 B/s, about 10 s');
  expect(screen).toMatch(/cistern host list\S*\r?\n/);
  expect(screen.trimEnd()).toMatch(/cistern device rm 4, or to use it again: cistern device alive 4\S*$/);
});

/** A tracker with one blob whose repair goes on for `polls` looks at the queue, or never ends. */
function repairTracker(polls: number, missing: object[] = []): RequestListener {
  let left = polls;
  return (request, response) => {
    const queued = left > 0 ? 1 : 0;
    if (request.url === '/v1/repair/scan')
      answer({ scanned: 10, bytes: 100, queued, files: missing })(request, response);
    else {
      answer({ queued, underReplicated: queued, withoutCopy: 0, oldest: null, stuck: [] })(request, response);
      left--;
    }
  };
}

test('repair: 0 when the last look finds nothing', async () => {
  const ran = await runCistern(['repair', '--json'], { env: await tracker(repairTracker(2)) });
  expect(ran.code).toBe(0);
  expect(
    ran.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual([
    { event: 'scan', scanned: 10, bytes: 100, queued: 1 },
    { event: 'scan', scanned: 10, bytes: 100, queued: 0 },
    { event: 'done', healthy: true, missing: 0 },
  ]);
});

test('repair: 1 with a list when nothing moves any more, even if the queue thinks that a file is well', async () => {
  const file = {
    fid: 7,
    domain: 'd',
    key: 'a\tb',
    copies: 2,
    want: 2,
    why: 'a copy is on h2, which is down',
  };
  const env = await tracker(repairTracker(Number.POSITIVE_INFINITY, [file]));
  const ran = await runCistern(['repair', '--patience', '1'], { env });
  expect(ran.code).toBe(1);
  expect(ran.stdout).toContain('7\t2 of 2\ta copy is on h2, which is down\td\ta\tb\n');
  expect(ran.stderr).toBe("cistern: 1 file lacks copies; see the list above and 'cistern status'\n");
});

test('repair: 2 when it could not look', async () => {
  const env = await tracker(answer(new Problem('not-permitted', 'Scope admin is needed.'), 403));
  const ran = await runCistern(['repair'], { env });
  expect(ran.code).toBe(2);
  expect(ran.stderr).toMatch(/^cistern: cannot see the repair through: Scope admin is needed/);
});

test('what cannot be taken back is not done where nobody can be asked', async () => {
  let changes = 0;
  const env = await tracker((request, response) => {
    if (request.method !== 'GET') changes++;
    answer({ devices: [{ id: 3, host: 'h1', blobs: 5, observed: 'up' }], versions: [] })(request, response);
  });
  for (const args of [
    ['device', 'dead', '3'],
    ['device', 'revive', '3'],
    ['host', 'dead', 'h1'],
    ['rm', '-r', '/'],
    ['domain', 'rm', '-r', 'd'],
    ['trash', 'purge', '1'],
  ]) {
    const ran = await runCistern(args, { env });
    expect(ran.code, args.join(' ')).toBe(2);
    expect(ran.stderr).toMatch(/Nobody can be asked here; add --yes\n$/);
  }
  expect(changes).toBe(0);
  expect((await runCistern(['device', 'dead', '3', '--yes'], { env })).code).toBe(0);
  expect(changes).toBe(1);
});

test('names go through a pipe as they are', async () => {
  const key = 'odd/a\u001b[2J\u202e b';
  const env = await tracker(answer({ entries: [{ kind: 'file', key, size: 1 }] }));
  expect((await runCistern(['ls', 'odd'], { env })).stdout).toBe('a\u001b[2J\u202e b\n');
  expect(JSON.parse((await runCistern(['ls', '--json', 'odd'], { env })).stdout)).toMatchObject({ key });
});

test('a reader that has seen enough is no failure', async () => {
  const entries = Array.from({ length: 1000 }, (_, i) => ({ kind: 'file', key: `file-${i}`, size: 1 }));
  const env = await tracker(answer({ entries, next: 'more' }));
  const main = new URL('../main.ts', import.meta.url).pathname;
  const shell = spawn('bash', ['-c', `set -o pipefail; '${process.execPath}' '${main}' ls | head -1`], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = new Promise((resolve) => shell.once('close', resolve));
  expect(await text(shell.stdout)).toBe('file-0\n');
  expect(await text(shell.stderr)).toBe('');
  expect(await ended).toBe(0);
});
