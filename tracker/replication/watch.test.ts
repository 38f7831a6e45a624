// When copies are made for what is down, by a clock of the test's own.
import { beforeEach, describe, expect, it } from 'vitest';
import type { DeviceState, HostState } from '../cluster/state.ts';
import { Watch } from './watch.ts';

const HEAL_MS = 900_000;

let up: Map<number, boolean>;
let states: Map<number, DeviceState['state']>;
let ageMs: number;
let now: number;
let watch: Watch;
beforeEach(() => {
  up = new Map([1, 2, 3].map((id) => [id, true]));
  states = new Map();
  ageMs = 500;
  now = 1_000_000;
  watch = watchFor(900);
});

/** Device n is the only one of host n. */
function watchFor(healSeconds: number): Watch {
  const host = (id: number) => ({ id, up: up.get(id) }) as HostState;
  const device = (id: number) => {
    const state = states.get(id) ?? 'alive';
    return { id, host: host(id), state, readable: up.get(id) && state !== 'dead' } as DeviceState;
  };
  const seen = {
    devices: () => [...up.keys()].map(device),
    hosts: () => [...up.keys()].map(host),
    get ageMs() {
      return ageMs;
    },
  };
  return new Watch(seen, { healSeconds, gapSeconds: 14 }, () => now);
}

/** Looks every two seconds, for so long. Returns the devices that came back. */
function pass(ms: number): number[] {
  const returned: number[] = [];
  for (const end = now + ms; now < end; now += 2_000) returned.push(...watch.look());
  returned.push(...watch.look());
  return returned;
}

describe('a device that is down', () => {
  it('is missed when it was away for long enough, and no longer when it is back', () => {
    pass(HEAL_MS);
    up.set(3, false);
    pass(HEAL_MS - 2_000);
    expect(watch.missed).toEqual(new Set());
    pass(2_000);
    expect(watch.missed).toEqual(new Set([3]));
    up.set(3, true);
    expect(pass(2_000)).toEqual([3]);
    expect(watch.missed).toEqual(new Set());
  });

  it('begins anew when it was back for a moment', () => {
    up.set(3, false);
    pass(HEAL_MS - 10_000);
    up.set(3, true);
    pass(2_000);
    up.set(3, false);
    pass(HEAL_MS - 10_000);
    expect(watch.missed).toEqual(new Set());
  });

  it('is not missed while half of the hosts are away, not counting those that were given up', () => {
    up.set(2, false);
    up.set(3, false);
    pass(2 * HEAL_MS);
    expect(watch.missed).toEqual(new Set());
    up.set(2, true);
    pass(2_000);
    expect(watch.missed).toEqual(new Set([3]));
    states.set(2, 'dead');
    pass(2_000);
    expect(watch.missed).toEqual(new Set());
  });

  it('is not missed if it is dead, or if nothing is to be healed by itself', () => {
    up.set(3, false);
    states.set(3, 'dead');
    pass(2 * HEAL_MS);
    expect(watch.missed).toEqual(new Set());
    states.clear();
    watch = watchFor(0);
    pass(2 * HEAL_MS);
    expect(watch.missed).toEqual(new Set());
  });
});

describe('a tracker that could not see', () => {
  it('watches anew after an outage of the database', () => {
    up.set(3, false);
    pass(HEAL_MS - 10_000);
    ageMs = 20_000;
    pass(20_000);
    expect(watch.missed).toEqual(new Set());
    ageMs = 500;
    pass(HEAL_MS - 2_000);
    expect(watch.missed).toEqual(new Set());
    pass(2_000);
    expect(watch.missed).toEqual(new Set([3]));
  });

  it('watches anew after it stood still itself', () => {
    up.set(3, false);
    pass(HEAL_MS - 10_000);
    now += HEAL_MS;
    expect(pass(2_000)).toEqual([]);
    expect(watch.missed).toEqual(new Set());
  });
});
