// Where new replicas go: devices that take writes, on different hosts (and in different zones where that is wanted and
// there are enough), at random by weight and free space.
import { Problem } from '../../services/problems.ts';
import type { ClusterState, DeviceState } from './state.ts';

export interface Wish {
  /** How many replicas, each on another host. */
  copies: number;
  /** Bytes of the blob; 0 if they are not known yet. */
  size: number;
  excludeHosts?: ReadonlySet<number>;
  excludeDevices?: ReadonlySet<number>;
  /** 'zone': zones that have none yet come first; hosts of the others fill up. */
  spread?: 'host' | 'zone';
  /** Zones that have a replica already. */
  takenZones?: ReadonlySet<string>;
  /** Leaves out all other devices. */
  fits?: (device: DeviceState) => boolean;
}

type Known = Pick<ClusterState, 'devices' | 'hosts' | 'isSuspect'>;

/**
 * Up to `copies` devices on different hosts, each chosen with a chance in proportion to its weight times its free
 * space. Suspects fill up what others leave. Fewer if there are not enough: the caller knows how many it cannot do
 * without, and throws `placementProblem`.
 */
export function choosePlaces(state: Known, wish: Wish, random: () => number = Math.random): DeviceState[] {
  const ranked: { device: DeviceState; suspect: number; rank: number }[] = [];
  for (const device of state.devices()) {
    if (!takes(device, wish) || !holds(device, wish.size)) continue;
    // An exponential race: the lowest of -ln(random) / weight wins with a chance in proportion to its weight.
    const rank = -Math.log(1 - random()) / (device.weight * Math.max(device.free, 1));
    ranked.push({ device, suspect: Number(state.isSuspect(device.id)), rank });
  }
  ranked.sort((a, b) => a.suspect - b.suspect || a.rank - b.rank);
  const places: DeviceState[] = [];
  const hosts = new Set<number>();
  const zones = new Set(wish.takenZones);
  const take = (may: (one: (typeof ranked)[number]) => boolean) => {
    for (const one of ranked) {
      const { host } = one.device;
      if (places.length === wish.copies) return;
      if (hosts.has(host.id) || !may(one)) continue;
      hosts.add(host.id);
      zones.add(host.zone);
      places.push(one.device);
    }
  };
  if (wish.spread === 'zone') take(({ device, suspect }) => suspect === 0 && !zones.has(device.host.zone));
  take(() => true);
  return places;
}

/** Why fewer than `needed` devices take a blob: only for want of space (507), or because hosts are missing (503). */
export function placementProblem(state: Known, wish: Wish, needed: number): Problem {
  const writable = state.devices().filter((device) => takes(device, wish));
  const able = hostsOf(writable);
  if (able >= needed) {
    const roomy = hostsOf(writable.filter((device) => holds(device, wish.size)));
    return new Problem(
      'insufficient-storage',
      `${needed} hosts must have room for ${wish.size} bytes, ${roomy} have. Add devices, or free space.`,
    );
  }
  const down = state.hosts().flatMap((host) => (host.up ? [] : [host.name]));
  return new Problem(
    'too-few-devices',
    `${needed} hosts with a writable device are needed, there ${able === 1 ? 'is' : 'are'} ${able}.` +
      `${down.length > 0 ? ` Down: ${down.join(', ')}.` : ''} See: cistern status.`,
  );
}

function takes(device: DeviceState, { excludeHosts, excludeDevices, fits }: Wish): boolean {
  return (
    device.writable &&
    device.weight > 0 &&
    !excludeHosts?.has(device.host.id) &&
    !excludeDevices?.has(device.id) &&
    (fits === undefined || fits(device))
  );
}

function holds(device: DeviceState, size: number): boolean {
  return device.free >= Math.max(size, 1);
}

function hostsOf(devices: DeviceState[]): number {
  return new Set(devices.map((device) => device.host.id)).size;
}
