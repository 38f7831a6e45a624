import { expect, it } from 'vitest';
import { Pace } from './pace.ts';

const DAY_MS = 86_400_000;
const MiB = 1024 * 1024;
const { signal } = new AbortController();

it('reads as fast as a pass needs to be done in time, within its bounds', () => {
  const rate = (used: number, days: number, fastest = 20 * MiB) =>
    new Pace({ active: 0, space: { used } }, days * DAY_MS, fastest, signal).bytesPerSecond;
  expect(rate(1e12, 30)).toBeCloseTo(1e12 / (27 * 86_400), 0);
  expect(rate(1e12, 0.1)).toBe(20 * MiB);
  expect(rate(0, 30)).toBe(64 * 1024);
  expect(rate(1e12, 30, 1000)).toBe(1000);
});

it('is never faster than its bound', async () => {
  const pace = new Pace({ active: 0, space: { used: 1e15 } }, DAY_MS, 10 * MiB, signal);
  const began = performance.now();
  for (let piece = 0; piece < 10; piece++) await pace.rest(MiB / 2);
  expect(performance.now() - began).toBeGreaterThanOrEqual(490);
});

it('lets requests go first, but does not wait for ever', async () => {
  const device = { active: 1, space: { used: 1e15 } };
  const pace = new Pace(device, DAY_MS, 1e12, signal);
  const began = performance.now();
  await pace.rest(1);
  expect(performance.now() - began).toBeGreaterThanOrEqual(249);
  const waiting = pace.rest(1);
  device.active = 0;
  await waiting;
});

it('ends at once when the node stops', async () => {
  const ending = new AbortController();
  const pace = new Pace({ active: 0, space: { used: 0 } }, DAY_MS, 1, ending.signal);
  const waiting = pace.rest(MiB);
  ending.abort();
  await expect(waiting).rejects.toThrow();
});
