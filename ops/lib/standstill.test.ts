import { expect, test } from 'vitest';
import { moved, nothingToTry } from './standstill.ts';
import type { Repair } from './types.ts';

function seen(queued: number, stuck: [fid: number, attempts: number][]): Repair {
  return {
    queued,
    underReplicated: queued,
    withoutCopy: 0,
    bytes: 0,
    oldest: null,
    removing: 0,
    reaping: 0,
    stuck: stuck.map(([fid, attempts]) => ({
      fid,
      attempts,
      domain: 'd',
      key: `${fid}`,
      copies: 1,
      want: 2,
      why: 'no device',
    })),
  };
}

test('a repair is given up early only when every file left was tried in vain since it began', () => {
  const first = seen(3, [[1, 4]]);
  expect(nothingToTry(first, seen(2, [[1, 5]]), 10_000), 'one was never tried').toBe(false);
  expect(
    nothingToTry(
      first,
      seen(2, [
        [1, 4],
        [2, 1],
      ]),
      10_000,
    ),
    'one failed only before it began',
  ).toBe(false);
  expect(
    nothingToTry(
      first,
      seen(2, [
        [1, 5],
        [2, 1],
      ]),
      1_000,
    ),
    'too early to say',
  ).toBe(false);
  expect(
    nothingToTry(
      first,
      seen(2, [
        [1, 5],
        [2, 1],
      ]),
      10_000,
    ),
  ).toBe(true);
});

test('an attempt in vain is no progress', () => {
  expect(moved(seen(2, [[1, 1]]), seen(2, [[1, 2]]))).toBe(false);
  expect(moved(seen(2, []), seen(1, []))).toBe(true);
});
