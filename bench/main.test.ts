// The benchmarks run, and write what they found. Their figures are not looked at: other tests run at the same time.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Results } from './lib/report.ts';

const MAIN = new URL('main.ts', import.meta.url).pathname;
const bench = (...args: string[]) => promisify(execFile)(process.execPath, [MAIN, ...args]);

let out = '';
beforeEach(() => {
  out = mkdtempSync(join(tmpdir(), 'cistern-bench-'));
});
afterEach(() => rmSync(out, { recursive: true, force: true }));

test('a quick run measures every suite and writes its results', { timeout: 900_000 }, async () => {
  const { stdout } = await bench('--quick', '--out', out);
  const results = JSON.parse(readFileSync(join(out, 'partial.json'), 'utf8')) as Results;
  expect(results.suites.map(({ name, failed }) => ({ name, failed }))).toEqual(
    [
      'transfers',
      'look-ups',
      'directories',
      'commits',
      'node-reads',
      'node-writes',
      'repair',
      'import',
      'fsck',
      'memory',
    ].map((name) => ({ name })),
  );
  for (const { name, rows, skipped } of results.suites) {
    if (skipped.length === 0) expect(rows.length, name).toBeGreaterThan(0);
    for (const row of rows) expect(Object.values(row), name).not.toContain(null);
  }
  expect(stdout).toContain('| upload through the tracker | 4 KiB | 8 |');
  expect(readFileSync(join(out, 'partial.md'), 'utf8')).toBe(stdout);
});

test('an unknown suite is a usage error that names the known ones', async () => {
  const failure = await bench('--only', 'nonsense').catch((error: { code: number; stderr: string }) => error);
  expect(failure).toMatchObject({ code: 2, stderr: expect.stringContaining("no suite 'nonsense'") });
  expect(failure.stderr).toContain('look-ups');
});

test('a profile names the modules of trackers and nodes', { timeout: 300_000 }, async () => {
  const { stdout } = await bench('--quick', '--profile', '--only', 'node-writes', '--out', out);
  const [, trackers, nodes] = stdout.split(/\n\| (?:tracker|storage nodes): /) as [string, string, string];
  expect(trackers).toMatch(/^\| [\w/@-]+ \| \d+\.\d % \|$/m);
  expect(nodes).toMatch(/^\| fastify \| \d+\.\d % \|$/m);
});
