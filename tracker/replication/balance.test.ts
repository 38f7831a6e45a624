// Which devices give and which take, and when it is enough.
import { describe, expect, it } from 'vitest';
import { balanceOf, evens, type Level } from './balance.ts';

const level = (id: number, used: number, rest: Partial<Level> = {}): Level => ({
  id,
  total: 100,
  used,
  arriving: 0,
  leaving: 0,
  ...rest,
});
const ids = (levels: Level[]) => levels.map(({ id }) => id);

describe('balanceOf', () => {
  it('has the fullest give first, and the emptiest take first', () => {
    const { mean, even, givers, takers } = balanceOf(
      [level(1, 60), level(2, 80), level(3, 40), level(4, 0)],
      0.1,
    );
    expect(mean).toBeCloseTo(0.45);
    expect(even).toBe(false);
    expect(ids(givers)).toEqual([2, 1]);
    expect(ids(takers)).toEqual([4, 3]);
  });

  it('counts the mean by space, not by device', () => {
    const { mean } = balanceOf([level(1, 50), { ...level(2, 0), total: 900 }], 0.1);
    expect(mean).toBeCloseTo(0.05);
  });

  it('is even within the band, on both sides of the mean', () => {
    expect(balanceOf([level(1, 59), level(2, 41)], 0.1).even).toBe(true);
    expect(balanceOf([level(1, 61), level(2, 39)], 0.1).even).toBe(false);
    // No device is far above, but the new one is far below.
    expect(balanceOf([...Array.from({ length: 9 }, (_, i) => level(i, 50)), level(9, 0)], 0.1).even).toBe(
      false,
    );
  });

  it('neither takes from nor gives to a device twice for what is on its way', () => {
    const { givers, takers } = balanceOf(
      [level(1, 80, { leaving: 45 }), level(2, 10, { arriving: 45 }), level(3, 30)],
      0.1,
    );
    expect(ids(givers)).toEqual([]);
    expect(ids(takers)).toEqual([3]);
  });

  it('finds nothing to do where there is nothing', () => {
    expect(balanceOf([], 0.1)).toEqual({ mean: 0, even: true, givers: [], takers: [] });
  });
});

describe('evens', () => {
  it('moves nothing that would make the taker as full as the giver was', () => {
    expect(evens(level(1, 60), level(2, 40), 19)).toBe(true);
    expect(evens(level(1, 60), level(2, 40), 20)).toBe(false);
    expect(evens(level(1, 60), level(2, 20, { arriving: 20 }), 20)).toBe(false);
    expect(evens(level(1, 80, { leaving: 20 }), level(2, 40), 20)).toBe(false);
  });
});
