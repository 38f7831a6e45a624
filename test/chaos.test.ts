// Two trackers and three storage nodes are killed at random, disks rot, fill up and are drained, the network fails, while
// clients write, replace, copy, move, delete and restore. The driver is test/chaos; `npm run chaos` runs it for longer, and repeats a run by its seed.
import { afterAll, expect, test } from 'vitest';
import { isLinearizable, type Step } from './chaos/linear.ts';
import { Network } from './chaos/network.ts';
import { chaosCluster, runChaos } from './chaos/run.ts';
import { useCluster } from './support/cluster.ts';

const SECONDS = 15;
// A run in which one of these did not happen would prove little.
const HAPPENED = [
  ...['put', 'delete', 'move', 'copy', 'restore', 'race exclusive', 'tracker killed', 'node killed'],
  ...['replica vanished', 'bit flipped', 'network stall'],
];
const network = new Network();
const cluster = useCluster(network.into(chaosCluster));
afterAll(() => network.close());

test('what was acknowledged is there, and nothing else, whatever was killed meanwhile', async () => {
  const seed = process.env.CHAOS_SEED ?? String(Date.now());
  const { violations, counts } = await runChaos(cluster(), {
    seed,
    seconds: SECONDS,
    until: HAPPENED,
    network,
  });
  process.stderr.write(`chaos, seed ${seed}: ${JSON.stringify(counts)}\n`);
  expect(violations, `repeat with CHAOS_SEED=${seed}`).toEqual([]);
  for (const what of HAPPENED) expect(counts[what], what).toBeGreaterThan(0);
  expect(counts['replicas verified']).toBeGreaterThan(0);
}, 600_000);

test('the judge of histories knows right from wrong', () => {
  const step = (begin: number, end: number, more: Pick<Step, 'kind' | 'value'> & Partial<Step>): Step => ({
    begin,
    end,
    by: 'x',
    ...(more.kind === 'write' ? { done: true } : {}),
    ...more,
  });
  const write = step(0, 2, { kind: 'write', value: 'a' });
  const lost = { ...step(3, Number.POSITIVE_INFINITY, { kind: 'write', value: 'b' }) };
  delete lost.done;
  const read = (begin: number, value: string | null) => step(begin, begin + 1, { kind: 'read', value });
  expect(isLinearizable([write, read(1, null), read(3, 'a')])).toBe(true);
  expect(isLinearizable([write, read(3, null)])).toBe(false);
  expect(isLinearizable([write, lost, read(5, 'a'), read(7, 'b')])).toBe(true);
  expect(isLinearizable([write, lost, read(5, 'b'), read(7, 'a')])).toBe(false);
  const twice = (begin: number, value: string) => step(begin, begin + 3, { kind: 'write', value, if: null });
  expect(isLinearizable([twice(0, 'a'), twice(1, 'b')])).toBe(false);
  expect(isLinearizable([twice(0, 'a'), { ...twice(1, 'b'), done: false }])).toBe(true);
});
