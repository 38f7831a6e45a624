// Where a replica may be moved to when disks are filled alike: never at the cost of hosts, nor, for classes that want
// their copies in different zones, at the cost of zones.
import { describe, expect, it } from 'vitest';
import type { DeviceState } from '../cluster/state.ts';
import { type Movable, mayMoveTo } from './move.ts';
import type { Replica } from './standing.ts';

const at = (device: number, zone: string, host = device): Replica => ({
  device,
  host,
  zone,
  state: 'good',
  use: 'alive',
});
const target = (id: number, zone: string, { host = id, free = 1000 } = {}) =>
  ({ id, host: { id: host, zone }, free }) as DeviceState;

/** A blob of 100 bytes; the first replica is the one that leaves. */
function movable(replicas: [Replica, ...Replica[]], spreadZones: boolean): Movable {
  const [leaving, ...rest] = replicas;
  const survey = { fid: 1, size: 100, want: replicas.length, spreadZones, locations: replicas };
  return { survey: survey as unknown as Movable['survey'], leaving, rest };
}

describe('a replica', () => {
  const two: [Replica, Replica] = [at(1, 'a'), at(2, 'b')];

  it('may leave its zone for another host, if the class wants different hosts only', () => {
    expect(mayMoveTo(movable(two, false), target(3, 'b'))).toBe(true);
  });

  it('stays in a zone of its own, if the class wants different zones', () => {
    expect(mayMoveTo(movable(two, true), target(3, 'b'))).toBe(false);
    expect(mayMoveTo(movable(two, true), target(3, 'a'))).toBe(true);
    expect(mayMoveTo(movable(two, true), target(3, 'c'))).toBe(true);
  });

  it('may move freely where its zone has another copy, and even into a zone that has none', () => {
    const three: [Replica, ...Replica[]] = [at(1, 'a'), at(2, 'a'), at(3, 'b')];
    for (const zone of ['a', 'b', 'c']) expect(mayMoveTo(movable(three, true), target(4, zone))).toBe(true);
  });

  it('never joins another copy on its host, nor a device that has one or lacks the room', () => {
    for (const spread of [false, true]) {
      expect(mayMoveTo(movable(two, spread), target(3, 'a', { host: 2 }))).toBe(false);
      expect(mayMoveTo(movable(two, spread), target(2, 'b'))).toBe(false);
      expect(mayMoveTo(movable(two, spread), target(3, 'a', { free: 99 }))).toBe(false);
    }
  });

  it('may go to another disk of its own host', () => {
    expect(mayMoveTo(movable(two, true), target(3, 'a', { host: 1 }))).toBe(true);
  });
});
