// The limit for repairs: who says what it is, and what it lets through.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openNamespace, type TestNamespace } from '../../test/support/namespace.ts';
import { repairLimit, setRepairLimit, Throttle } from './throttle.ts';

let ns: TestNamespace;
beforeAll(async () => {
  ns = await openNamespace();
});
afterAll(() => ns.close());

it('lets anything through without a limit', async () => {
  const throttle = new Throttle(0);
  await throttle.refresh(ns.db);
  throttle.spend(1e12);
  expect(throttle.wait()).toBe(0);
});

it('has what was spent paid for before there is more', async () => {
  const throttle = new Throttle(1_000_000);
  await throttle.refresh(ns.db);
  expect(throttle.wait()).toBe(0);
  throttle.spend(50_000_000);
  throttle.spend(50_000_000);
  expect(throttle.wait()).toBeGreaterThan(90_000);
  expect(throttle.wait()).toBeLessThanOrEqual(100_000);
});

it('does what an operator says instead of its setting, and shares it with the other trackers', async () => {
  const throttle = new Throttle(1_000_000);
  expect(await repairLimit(ns.db)).toBe(null);
  await setRepairLimit(ns.db, 600_000);
  expect(await repairLimit(ns.db)).toBe(600_000);
  await throttle.refresh(ns.db);
  expect(throttle.rate).toBe(600_000);
  await ns.sql(`INSERT INTO trackers (id, url, version, seen)
    SELECT gen_random_uuid(), 'http://t' || n, '1', now() - (n > 3)::int * interval '1 minute' FROM generate_series(1, 5) n`);
  await throttle.refresh(ns.db);
  expect(throttle.rate).toBe(200_000);
  throttle.spend(1e9);
  await setRepairLimit(ns.db, 0);
  await throttle.refresh(ns.db);
  expect([throttle.rate, throttle.wait()]).toEqual([0, 0]);
  await setRepairLimit(ns.db, null);
  await throttle.refresh(ns.db);
  expect(throttle.rate).toBeCloseTo(1_000_000 / 3);
});
