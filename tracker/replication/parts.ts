// What the parts of replication share: the parts of the tracker that they stand on, and a few words for logs.
import type { Logger } from '../../services/logging.ts';
import type { ClusterState, DeviceState } from '../cluster/state.ts';
import type { TrackerConfig } from '../config.ts';
import type { Database } from '../database/database.ts';
import type { NodeClient } from '../transfer/node-client.ts';
import type { Meters } from './meters.ts';
import type { Throttle } from './throttle.ts';

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
}

/** Ids of the devices that can be read from now. */
export function readableDevices(state: Pick<ClusterState, 'devices'>): number[] {
  return state.devices().flatMap((device) => (device.readable ? [device.id] : []));
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
