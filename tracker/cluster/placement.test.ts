import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { choosePlaces, placementProblem } from './placement.ts';
import type { DeviceState, HostState } from './state.ts';

const GIB = 1024 ** 3;

function host(id: number, up = true): HostState {
  const url = `http://h${id}.test:7501`;
  return {
    id,
    name: `h${id}`,
    url,
    zone: 'default',
    session: 's',
    previousSession: null,
    seen: new Date(),
    up,
    clockOffsetMs: 0,
  };
}

function device(id: number, on: HostState, more: Partial<DeviceState> = {}): DeviceState {
  return {
    id,
    host: on,
    uuid: `uuid-${id}`,
    state: 'alive',
    weight: 100,
    reviving: false,
    revivedMs: null,
    condition: 'ok',
    up: on.up,
    readable: on.up,
    writable: on.up,
    total: 200 * GIB,
    free: 100 * GIB,
    blobs: 0,
    errors: 0,
    highestFid: 0,
    quarantined: 0,
    ...more,
  };
}

function cluster(devices: DeviceState[], suspects: number[] = []) {
  const hosts = [...new Map(devices.map((one) => [one.host.id, one.host])).values()];
  return { devices: () => devices, hosts: () => hosts, isSuspect: (id: number) => suspects.includes(id) };
}

const someDevice = fc.record({
  host: fc.integer({ min: 1, max: 6 }),
  writable: fc.boolean(),
  weight: fc.integer({ min: 0, max: 1000 }),
  free: fc.integer({ min: 0, max: 1000 }),
  suspect: fc.boolean(),
});

describe('choosePlaces', () => {
  it('chooses as many different hosts as there are, of devices that take the blob', () => {
    fc.assert(
      fc.property(
        fc.array(someDevice, { maxLength: 20 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 0, max: 1000 }),
        fc.uniqueArray(fc.integer({ min: 1, max: 6 })),
        fc.uniqueArray(fc.integer({ min: 1, max: 20 })),
        (wishes, copies, size, excludeHosts, excludeDevices) => {
          const devices = wishes.map(({ host: on, writable, weight, free }, i) =>
            device(i + 1, host(on), { writable, weight, free }),
          );
          const suspects = wishes.flatMap((wish, i) => (wish.suspect ? [i + 1] : []));
          const wish = {
            copies,
            size,
            excludeHosts: new Set(excludeHosts),
            excludeDevices: new Set(excludeDevices),
          };
          const places = choosePlaces(cluster(devices, suspects), wish);
          const able = devices.filter(
            (one) =>
              one.writable &&
              one.weight > 0 &&
              one.free >= Math.max(size, 1) &&
              !excludeHosts.includes(one.host.id) &&
              !excludeDevices.includes(one.id),
          );
          const hosts = new Set(able.map((one) => one.host.id));
          expect(places.every((place) => able.includes(place))).toBe(true);
          expect(new Set(places.map((place) => place.host.id)).size).toBe(places.length);
          expect(places.length).toBe(Math.min(copies, hosts.size));
          // A suspect is chosen only if hosts with others did not suffice.
          const sound = new Set(able.filter((one) => !suspects.includes(one.id)).map((one) => one.host.id));
          const chosenSuspects = places.filter((place) => suspects.includes(place.id)).length;
          expect(chosenSuspects).toBe(Math.max(0, places.length - Math.min(copies, sound.size)));
        },
      ),
    );
  });

  it('gives each device its share by weight and free space', () => {
    const devices = [
      device(1, host(1), { weight: 100, free: 100 * GIB }),
      device(2, host(2), { weight: 200, free: 100 * GIB }),
      device(3, host(3), { weight: 100, free: 300 * GIB }),
    ];
    const counts = new Map<number, number>();
    const rounds = 12_000;
    for (let i = 0; i < rounds; i++) {
      const [place] = choosePlaces(cluster(devices), { copies: 1, size: 1 });
      counts.set(place?.id as number, (counts.get(place?.id as number) ?? 0) + 1);
    }
    // 1 : 2 : 3; six standard deviations are below 0.03.
    expect((counts.get(1) ?? 0) / rounds).toBeCloseTo(1 / 6, 1);
    expect(Math.abs((counts.get(2) ?? 0) / rounds - 2 / 6)).toBeLessThan(0.03);
    expect(Math.abs((counts.get(3) ?? 0) / rounds - 3 / 6)).toBeLessThan(0.03);
  });
});

describe('choosePlaces, spread over zones', () => {
  const inZone = (id: number, zone: string) => device(id, { ...host(id), zone });
  const zonesOf = (places: DeviceState[]) => places.map((place) => place.host.zone).sort();
  const wish = { copies: 2, size: 1, spread: 'zone' } as const;

  it('chooses different zones, and hosts where there are too few of them', () => {
    const state = cluster([inZone(1, 'a'), inZone(2, 'a'), inZone(3, 'a'), inZone(4, 'b')]);
    for (let i = 0; i < 50; i++) {
      expect(zonesOf(choosePlaces(state, wish))).toEqual(['a', 'b']);
      expect(zonesOf(choosePlaces(state, { ...wish, copies: 3 }))).toEqual(['a', 'a', 'b']);
      expect(zonesOf(choosePlaces(state, { ...wish, copies: 1, takenZones: new Set(['a']) }))).toEqual(['b']);
    }
    const one = cluster([inZone(1, 'a'), inZone(2, 'a')]);
    expect(zonesOf(choosePlaces(one, wish))).toEqual(['a', 'a']);
  });

  it('takes a healthy device of the same zone before a suspect one of another', () => {
    const state = cluster([inZone(1, 'a'), inZone(2, 'a'), inZone(3, 'b')], [3]);
    expect(zonesOf(choosePlaces(state, wish))).toEqual(['a', 'a']);
  });
});

describe('placementProblem', () => {
  it('is 507 if only space is missing', () => {
    const state = cluster([device(1, host(1), { free: 10 }), device(2, host(2), { free: 0 })]);
    const problem = placementProblem(state, { copies: 2, size: 100 }, 2);
    expect(problem).toMatchObject({ problem: 'insufficient-storage', status: 507 });
    expect(problem.message).toContain('0 have');
  });

  it('is 503, and names the hosts that are down, if hosts are missing', () => {
    const state = cluster([device(1, host(1)), device(2, host(2, false))]);
    const problem = placementProblem(state, { copies: 2, size: 100 }, 2);
    expect(problem).toMatchObject({ problem: 'too-few-devices', status: 503 });
    expect(problem.message).toContain('Down: h2');
  });
});
