import { expect, it } from 'vitest';
import { Batcher } from './batcher.ts';

/** A batcher whose batches are answered by hand. */
function held(options: { size: number; concurrency: number; key?: (item: string) => string }) {
  const batches: { items: string[]; answer: () => void }[] = [];
  const batcher = new Batcher<string, string>(
    (items) =>
      new Promise((resolve) =>
        batches.push({ items, answer: () => resolve(items.map((item) => `${item}!`)) }),
      ),
    options,
  );
  return { batcher, batches };
}
const turn = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

it('sends what arrives together as one batch, and answers each in order', async () => {
  const { batcher, batches } = held({ size: 10, concurrency: 1 });
  const answers = ['a', 'b', 'c'].map((item) => batcher.add(item));
  await turn();
  expect(batches.map((batch) => batch.items)).toEqual([['a', 'b', 'c']]);
  batches[0]?.answer();
  expect(await Promise.all(answers)).toEqual(['a!', 'b!', 'c!']);
});

it('never adds to a batch that was sent: a look-up must not get an answer from before it began', async () => {
  const { batcher, batches } = held({ size: 10, concurrency: 1 });
  const first = batcher.add('a');
  await turn();
  const second = batcher.add('a');
  await turn();
  expect(batches).toHaveLength(1);
  batches[0]?.answer();
  await first;
  await turn();
  expect(batches).toHaveLength(2);
  batches[1]?.answer();
  await second;
});

it('keeps items with equal keys in different batches, in order', async () => {
  const { batcher, batches } = held({ size: 10, concurrency: 1, key: (item) => item[0] as string });
  const all = ['a1', 'b1', 'a2', 'a3', 'c1'].map((item) => batcher.add(item));
  const sent: string[][] = [];
  while (sent.flat().length < 5) {
    await turn();
    const batch = batches.shift();
    if (batch) sent.push(batch.items);
    batch?.answer();
  }
  expect(sent).toEqual([['a1', 'b1', 'c1'], ['a2'], ['a3']]);
  await Promise.all(all);
});

it('fails each item by itself, or all of them with the batch', async () => {
  const batcher = new Batcher<number, number>(
    async (items) => {
      if (items.includes(0)) throw new Error('all');
      return items.map((item) => (item < 0 ? new Error('one') : item));
    },
    { size: 2, concurrency: 2 },
  );
  const settled = await Promise.allSettled([-1, 1, 0, 2].map((item) => batcher.add(item)));
  expect(settled.map((r) => (r.status === 'fulfilled' ? r.value : r.reason.message))).toEqual([
    'one',
    1,
    'all',
    'all',
  ]);
});
