// What the parts of replication share: the parts of the tracker that they stand on, and a few words for logs.
import type { Logger } from '../../services/logging.ts';
import type { ClusterState, DeviceState } from '../cluster/state.ts';
import type { TrackerConfig } from '../config.ts';
import type { Database } from '../database/database.ts';
import type { NodeClient } from '../transfer/node-client.ts';
import type { Meters } from './meters.ts';
import type { Reach } from './scan.ts';
import type { Throttle } from './throttle.ts';
import type { Watch } from './watch.ts';

export interface Parts {
  config: Pick<
    TrackerConfig,
    | 'CISTERN_REAP_AFTER_SECONDS'
    | 'CISTERN_SWEEP_AFTER_SECONDS'
    | 'CISTERN_SWEEP_EVERY_SECONDS'
    | 'CISTERN_REPAIR_WORKERS'
  >;
  log: Logger;
  db: Database;
  state: ClusterState;
  nodes: NodeClient;
  meters: Meters;
  throttle: Throttle;
  watch: Pick<Watch, 'missed'>;
}

/** Ids of the devices that can be read from now. */
export function readableDevices(state: Pick<ClusterState, 'devices'>): number[] {
  return state.devices().flatMap((device) => (device.readable ? [device.id] : []));
}

/** What can be read, and in how many zones new replicas can be placed. */
export function reachOf(state: Pick<ClusterState, 'devices'>): Reach {
  return { readable: readableDevices(state), zones: openZones(state).size };
}

/** Zones with a device that can take a new replica. */
export function openZones(state: Pick<ClusterState, 'devices'>): Set<string> {
  const open = state.devices().filter(({ writable, weight, free }) => writable && weight > 0 && free > 0);
  return new Set(open.map(({ host }) => host.zone));
}

/** 'device 3 (h2)', or what is left of it if the device is not known any more. */
export function nameDevice(device: DeviceState | undefined, id: number): string {
  return device === undefined ? `device ${id} (unknown)` : `device ${id} (${device.host.name})`;
}

/** Why a device cannot be read from, as the end of a sentence: 'is down', 'is out: its marker is missing'. */
export function whyUnreadable(device: DeviceState | undefined): string {
  if (device === undefined) return 'is not known';
  if (device.state === 'dead') return 'is dead';
  if (!device.host.up) return 'is down';
  return device.condition === 'out' ? `is out of service${device.why ? `: ${device.why}` : ''}` : 'failed';
}
