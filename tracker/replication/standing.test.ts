import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { countHosts, countZones, type Known, type Replica, standingOf } from './standing.ts';

/** Device n on host n in zone 'a', unless told otherwise. */
const at = (device: number, more: Partial<Replica> = {}): Replica => ({
  device,
  host: device,
  zone: 'a',
  state: 'good',
  use: 'alive',
  ...more,
});

function known(more: Partial<Known> = {}): Known {
  const readable = new Set(Array.from({ length: 20 }, (_, i) => i));
  return { readable, missed: new Set(), zones: new Set(['a', 'b']), fill: (id) => id / 100, ...more };
}

const two = { want: 2, spreadZones: false };
const twoZones = { want: 2, spreadZones: true };
const devices = (replicas: Replica[]) => replicas.map(({ device }) => device);

describe('standingOf', () => {
  it('counts what is good, and of that what stays', () => {
    const replicas = [at(1), at(2, { use: 'drain' }), at(3, { state: 'bad' }), at(4, { use: 'dead' }), at(5)];
    const { good, staying, surplus } = standingOf(replicas, two, known({ missed: new Set([5]) }));
    expect(devices(good)).toEqual([1, 2, 5]);
    expect(devices(staying)).toEqual([1]);
    expect(surplus).toEqual([]);
  });

  it('gives up a drained one first, then that on the fullest device', () => {
    const replicas = [at(1), at(2, { use: 'drain' }), at(3), at(4)];
    const { surplus, keepers } = standingOf(replicas, two, known());
    expect(devices(keepers)).toEqual([1, 3]);
    expect(devices(surplus)).toEqual([2, 4]);
  });

  it('keeps one of two on the same host, but only when enough other hosts have one', () => {
    const replicas = [at(1), at(2, { host: 1 }), at(3)];
    expect(devices(standingOf(replicas, two, known()).surplus)).toEqual([2]);
    expect(devices(standingOf(replicas, { want: 3, spreadZones: false }, known()).surplus)).toEqual([]);
  });

  it('gives nothing up while those that would be kept cannot be read', () => {
    const replicas = [at(1), at(2), at(3, { use: 'drain' })];
    const { surplus } = standingOf(replicas, two, known({ readable: new Set([1, 3]) }));
    expect(surplus).toEqual([]);
  });

  it('is crowded if there are more zones to have, not if there are too few', () => {
    const replicas = [at(1), at(2)];
    expect(standingOf(replicas, twoZones, known()).crowded).toBe(true);
    expect(standingOf(replicas, two, known()).crowded).toBe(false);
    expect(standingOf(replicas, twoZones, known({ zones: new Set(['a']) })).crowded).toBe(false);
    expect(standingOf([...replicas, at(3, { zone: 'b' })], twoZones, known()).crowded).toBe(false);
  });

  it('keeps one in each zone, though those are on fuller devices', () => {
    const replicas = [at(1), at(2), at(9, { zone: 'b' })];
    const { surplus, keepers } = standingOf(replicas, twoZones, known());
    expect(devices(keepers)).toEqual([1, 9]);
    expect(devices(surplus)).toEqual([2]);
  });

  it('never gives up what is needed, whatever there is', () => {
    const replica = fc.record({
      host: fc.integer({ min: 1, max: 4 }),
      state: fc.constantFrom('good' as const, 'bad' as const, 'removing' as const),
      use: fc.constantFrom('alive' as const, 'readonly' as const, 'drain' as const, 'dead' as const),
    });
    fc.assert(
      fc.property(
        fc.array(replica, { maxLength: 8 }),
        fc.integer({ min: 1, max: 4 }),
        fc.boolean(),
        fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
        (some, want, spreadZones, up) => {
          const replicas = some.map((one, i) => ({ ...one, device: i, zone: one.host % 2 ? 'a' : 'b' }));
          const readable = new Set(up.flatMap((yes, i) => (yes ? [i] : [])));
          const standing = standingOf(replicas, { want, spreadZones }, known({ readable }));
          const { good, keepers, surplus } = standing;
          if (surplus.length > 0) expect(countHosts(keepers)).toBeGreaterThanOrEqual(want);
          for (const one of surplus) expect(keepers).not.toContain(one);
          for (const one of keepers) {
            expect(readable.has(one.device) && (one.use === 'alive' || one.use === 'readonly')).toBe(true);
          }
          const able = standing.staying.filter(({ device }) => readable.has(device));
          if (spreadZones) expect(countZones(keepers)).toBe(Math.min(countZones(able), want));
          expect(good.every(({ state, use }) => state === 'good' && use !== 'dead')).toBe(true);
        },
      ),
    );
  });
});
