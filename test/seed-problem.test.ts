// The problem that Cistern began with: on two web servers, a file is added on one while another is deleted on the other.
// In Cistern both hold everywhere at once. The same steps with rsync between two directories bring back what was deleted,
// or destroy what was added, whichever way it is run.
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { useCluster } from './support/cluster.ts';
import { lacksProgram, needs } from './support/needs.ts';

const START = ['kept.jpg', 'removed.jpg'];
/** What both web servers must have in the end. */
const WANTED = ['added.jpg', 'kept.jpg'];

describe('a file is added on head A while another is deleted on head B', () => {
  const cluster = useCluster({ trackers: 2, nodes: 2, devices: 1 });

  test('in Cistern both hold on both heads at once', async () => {
    const url = (key: string) => `/v1/domains/${cluster().domain}/files/${key}`;
    const [A, B] = [{ tracker: 0 }, { tracker: 1 }];
    for (const name of START) await cluster().request('PUT', url(name), { ...A, body: name });
    const [added, removed] = await Promise.all([
      cluster().request('PUT', url('added.jpg'), { ...A, body: 'added' }),
      cluster().request('DELETE', url('removed.jpg'), B),
    ]);
    expect([added.status, removed.status]).toEqual([201, 204]);
    // Right after the answers, with no pass of anything in between.
    for (const head of [A, B]) {
      const statuses = await Promise.all(
        ['added.jpg', 'kept.jpg', 'removed.jpg'].map(
          async (name) => (await cluster().request('HEAD', url(name), head)).status,
        ),
      );
      expect(statuses, `head ${head.tracker}`).toEqual([200, 200, 404]);
    }
  });

  /** Two directories that were the same; then A added and B deleted. */
  function heads(): [string, string] {
    const root = mkdtempSync(join(tmpdir(), 'cistern-seed-'));
    onTestFinished(() => rmSync(root, { recursive: true }));
    const [a, b] = [join(root, 'a'), join(root, 'b')];
    mkdirSync(a);
    for (const name of START) writeFileSync(join(a, name), name);
    cpSync(a, b, { recursive: true, preserveTimestamps: true });
    writeFileSync(join(a, 'added.jpg'), 'added');
    unlinkSync(join(b, 'removed.jpg'));
    return [a, b];
  }
  const rsync = (from: string, to: string, ...options: string[]) =>
    execFileSync('rsync', ['-a', ...options, `${from}/`, to]);

  test.for([
    {
      first: 'A to B',
      options: [],
      wrong: 'the deleted file is back on both',
      end: ['added.jpg', 'kept.jpg', 'removed.jpg'],
    },
    {
      first: 'B to A',
      options: [],
      wrong: 'the deleted file is back on both',
      end: ['added.jpg', 'kept.jpg', 'removed.jpg'],
    },
    {
      first: 'A to B',
      options: ['--delete'],
      wrong: 'the deleted file is back on both',
      end: ['added.jpg', 'kept.jpg', 'removed.jpg'],
    },
    { first: 'B to A', options: ['--delete'], wrong: 'the added file is lost on both', end: ['kept.jpg'] },
    {
      first: 'A to B',
      options: ['--update', '--delete'],
      wrong: 'the deleted file is back on both',
      end: ['added.jpg', 'kept.jpg', 'removed.jpg'],
    },
  ])('rsync both ways, $first first, $options: $wrong', ({ first, options, end }, context) => {
    needs(context, lacksProgram('rsync'));
    const [a, b] = heads();
    const [from, to] = first === 'A to B' ? [a, b] : [b, a];
    rsync(from, to, ...options);
    rsync(to, from, ...options);
    expect(readdirSync(a).sort()).toEqual(end);
    expect(readdirSync(b).sort()).toEqual(end);
    expect(end).not.toEqual(WANTED);
    expect(existsSync(join(a, 'kept.jpg'))).toBe(true);
  });
});
