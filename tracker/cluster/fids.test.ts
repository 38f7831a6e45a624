import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { startTestTracker, type TestTracker } from '../testing.ts';
import { FidAllocator } from './fids.ts';

let tracker: TestTracker;
beforeAll(async () => {
  tracker = await startTestTracker();
  await tracker.join('h1', [{ id: 1 }]);
});
afterAll(() => tracker.end());
beforeEach(async () => {
  await run('UPDATE cluster SET next_fid = 5000, sweep_from = 1, database_identity = NULL');
  await run('UPDATE heartbeats SET highest_fid = 0');
});

const run = (text: string) => tracker.db.query<{ next_fid: number; sweep_from: number }>({ name: '', text });
const allocator = (identity = () => '') => new FidAllocator(tracker.db, identity);

async function counter() {
  const [row] = await run('SELECT next_fid, sweep_from FROM cluster');
  return row;
}

it('hands out each fid once, by several trackers at the same time', async () => {
  const trackers = [allocator(), allocator(), allocator()];
  const calls = Array.from({ length: 6_000 }, (_, i) => trackers[i % 3]?.next());
  const fids = await Promise.all(calls);
  expect(new Set(fids).size).toBe(6_000);
  expect(Math.min(...(fids as number[]))).toBe(5_000);
  expect(await counter()).toEqual({ next_fid: 11_000, sweep_from: 1 });
});

it('owns its block by a commit before the first fid of it is used', async () => {
  expect(await allocator().next()).toBe(5_000);
  expect((await counter())?.next_fid).toBe(6_000);
});

it('jumps beyond all that may exist when the database is another one', async () => {
  await allocator().next();
  await run(`UPDATE cluster SET database_identity = '7000000000000000000:00000001'`);
  expect(await allocator().next()).toBe(1_006_000);
  expect(await counter()).toEqual({ next_fid: 1_007_000, sweep_from: 1_006_000 });
  // That database is accepted from then on.
  expect(await allocator().next()).toBe(1_007_000);
});

it('jumps when a node holds a fid that this database has not handed out: it was set back in place', async () => {
  await allocator().next();
  await run('UPDATE heartbeats SET highest_fid = 6000');
  expect(await allocator().next()).toBe(1_006_001);
  expect((await counter())?.sweep_from).toBe(1_006_001);
});

it('drops the fids that it kept back when the database changes', async () => {
  let identity = 'a';
  const fids = allocator(() => identity);
  expect(await fids.next()).toBe(5_000);
  expect(await fids.next()).toBe(5_001);
  identity = 'b';
  expect(await fids.next()).toBe(6_000);
  expect(await fids.next()).toBe(6_001);
});
