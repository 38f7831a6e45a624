// How a blob stands: which of its replicas count, which are too many, and whether they are spread as its classes want.
// A pure judgement over rows that were read just now; what is done about it is decided again under the blob's lock.
import type { DeviceState } from '../cluster/state.ts';

export interface Replica {
  device: number;
  host: number;
  zone: string;
  state: 'good' | 'bad' | 'removing';
  /** The state that the operator gave its device. */
  use: DeviceState['state'];
}

/** What is known of the devices beside what the database's rows say. */
export interface Known {
  readable: ReadonlySet<number>;
  /** Down for so long that their replicas are made elsewhere. */
  missed: ReadonlySet<number>;
  /** Zones that can take a new replica now. */
  zones: ReadonlySet<string>;
  /** How full a device is, from 0 to 1; of replicas that are equally well placed, that on the fullest device goes. */
  fill: (device: number) => number;
}

export interface Standing {
  /** Good replicas on devices that are not dead. */
  good: Replica[];
  /** Of those, the ones that stay: not on a device that is drained, or missed. */
  staying: Replica[];
  /** Good replicas that nobody needs once `keepers` are verified, the worst-placed first. */
  surplus: Replica[];
  /** Readable replicas that stay, on as many hosts as wanted; fewer if there are not so many. */
  keepers: Replica[];
  /** They are in fewer zones than the classes want and the cluster has. */
  crowded: boolean;
}

/** @param spreadZones a class of the blob wants its copies in different zones */
export function standingOf(
  replicas: readonly Replica[],
  { want, spreadZones }: { want: number; spreadZones: boolean },
  known: Known,
): Standing {
  const good = replicas.filter(({ state, use }) => state === 'good' && use !== 'dead');
  const staying = good.filter(({ device, use }) => use !== 'drain' && !known.missed.has(device));
  const zones = countZones(staying);
  const reachable = new Set([...known.zones, ...staying.map(({ zone }) => zone)]).size;
  const crowded = spreadZones && zones < Math.min(want, reachable);
  const able = staying.filter(({ device }) => known.readable.has(device));
  const keepers = chooseKeepers(able, want, spreadZones, known);
  const complete = keepers.length >= want;
  const surplus = good.filter((one) => complete && known.readable.has(one.device) && !keepers.includes(one));
  surplus.sort((a, b) => Number(b.use === 'drain') - Number(a.use === 'drain') || byFill(known)(b, a));
  return { good, staying, surplus, keepers, crowded };
}

export function countHosts(replicas: readonly { host: number }[]): number {
  return new Set(replicas.map(({ host }) => host)).size;
}

export function countZones(replicas: readonly { zone: string }[]): number {
  return new Set(replicas.map(({ zone }) => zone)).size;
}

/** Up to `want` replicas on different hosts, in as many zones as can be if that is wanted, on the emptiest devices. */
function chooseKeepers(able: Replica[], want: number, spreadZones: boolean, known: Known): Replica[] {
  const ordered = able.toSorted(byFill(known));
  const chosen: Replica[] = [];
  const take = (fits: (one: Replica) => boolean) => {
    for (const one of ordered) {
      if (chosen.length >= want) return;
      if (!chosen.some(({ host }) => host === one.host) && fits(one)) chosen.push(one);
    }
  };
  if (spreadZones) take(({ zone }) => !chosen.some((other) => other.zone === zone));
  take(() => true);
  return chosen;
}

function byFill({ fill }: Known) {
  return (a: Replica, b: Replica) => fill(a.device) - fill(b.device) || a.device - b.device;
}
