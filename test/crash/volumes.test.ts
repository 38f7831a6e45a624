// A process that keeps blobs in volumes is killed at each of its steps, and at any moment. The next one has all that was
// acknowledged, and nothing that was removed.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, expect, test } from 'vitest';
import { count, open, read } from '../../storage-node/volumes/testing.ts';
import { FailPoints } from '../support/fail-points.ts';
import { bytesOf } from './volumes-bytes.ts';

const VICTIM = join(import.meta.dirname, 'volumes-victim.ts');
const POINTS = [
  'node-write',
  'node-written',
  'node-linked',
  'node-directory-made',
  'node-unlinked',
  'node-unlink-synced',
  'node-slots-synced',
  'node-compacted',
  'node-volume-moved',
];
/** What is acknowledged before it is killed where no point strikes. */
const CHANGES = 6_000;

const points = new FailPoints();
const root = mkdtempSync(join(tmpdir(), 'cistern-volumes-'));
afterAll(() => {
  points.remove();
  rmSync(root, { recursive: true });
});

/** What each blob may be: there, gone, or either if nobody was told. */
const blobs = new Map<number, 'there' | 'gone' | 'either'>();

function note(line: string): void {
  const [what, fid] = line.split(' ') as [string, string];
  blobs.set(Number(fid), what === 'put' ? 'there' : what === 'deleted' ? 'gone' : 'either');
}

async function runUntilKilled(point: string | undefined): Promise<void> {
  if (point !== undefined) points.arm(point, 'kill');
  // A directory of its own, so that it has to be made.
  const first = (Math.floor(Math.max(0, ...blobs.keys()) / 1000) + 1) * 1000;
  const env = { ...process.env, CISTERN_FAIL_POINTS: points.armed, NODE_ENV: 'test' };
  const victim = spawn(process.execPath, [VICTIM, root, String(first)], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(victim, 'exit');
  let changes = 0;
  for await (const line of createInterface({ input: victim.stdout })) {
    note(line);
    if (++changes === CHANGES && point === undefined) victim.kill('SIGKILL');
  }
  expect((await ended)[1]).toBe('SIGKILL');
  points.reset();
}

async function look(): Promise<void> {
  const shelf = await open(root);
  const wrong: string[] = [];
  for (const [fid, state] of blobs) {
    const bytes = await read(shelf, fid, bytesOf(fid).length);
    if (bytes !== undefined && !bytes.equals(bytesOf(fid))) wrong.push(`${fid} has other bytes`);
    if (state !== 'either' && (state === 'there') !== (bytes !== undefined))
      wrong.push(`${fid} should be ${state}`);
    blobs.set(fid, bytes === undefined ? 'gone' : 'there');
    if (bytes !== undefined && (await shelf.journal.find(fid)) === undefined)
      wrong.push(`${fid} has no record`);
  }
  const there = [...blobs].filter(([, state]) => state === 'there').map(([fid]) => fid);
  expect(wrong).toEqual([]);
  expect((await shelf.store.list(0, 1_000_000)).map(({ fid }) => fid)).toEqual(there.sort((a, b) => a - b));
  expect(await count(shelf)).toBe(there.length);
  await shelf.store.close();
  await shelf.journal.close();
  expect(shelf.failures).toEqual([]);
}

test.each([...POINTS, undefined, undefined])(
  'is killed at %s (undefined: at any moment)',
  async (point) => {
    await runUntilKilled(point);
    await look();
  },
  60_000,
);

test('volumes were compacted meanwhile', () => {
  const names = readdirSync(join(root, 'volumes')).filter((name) => name.endsWith('.vol'));
  expect(Number(names.at(-1)?.slice(0, 10))).toBeGreaterThan(names.length + 5);
});
