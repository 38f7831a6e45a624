// Hosts and devices as rows: what an operator changes about them. What nodes say of themselves is in registration.ts.
import { Problem } from '../../services/problems.ts';
import type { Database, Statement } from '../database/database.ts';
import type { DeviceState } from './state.ts';

const updateZone: Statement = { name: 'update-zone', text: 'UPDATE hosts SET zone = $2 WHERE name = $1' };
const lockHost: Statement = { name: 'lock-host', text: 'SELECT id FROM hosts WHERE name = $1 FOR UPDATE' };
const devicesOfHost: Statement = {
  name: 'devices-of-host',
  text: 'SELECT id FROM devices WHERE host_id = $1 ORDER BY id',
};
const deleteHost: Statement = { name: 'delete-host', text: 'DELETE FROM hosts WHERE id = $1' };

/** @throws Problem not-found */
export async function setZone(db: Database, host: string, zone: string): Promise<void> {
  if ((await db.count(updateZone, [host, zone])) === 0) throw noHost(host);
}

/** Forgets a host. If its storage node still runs, it registers again. @throws Problem not-found, state-conflict */
export function removeHost(db: Database, host: string): Promise<void> {
  return db.transaction(async (tx) => {
    const [row] = await tx.query<{ id: number }>(lockHost, [host]);
    if (row === undefined) throw noHost(host);
    // The row's lock keeps registrations of this host out; one of its devices cannot appear meanwhile.
    const devices = await tx.query<{ id: number }>(devicesOfHost, [row.id]);
    if (devices.length > 0) {
      const ids = devices.map(({ id }) => id).join(', ');
      throw new Problem('state-conflict', `Host ${host} has devices (${ids}). Remove them first.`);
    }
    await tx.query(deleteHost, [row.id]);
  });
}

const lockDevice: Statement = {
  name: 'lock-device',
  text: 'SELECT state FROM devices WHERE id = $1 FOR UPDATE',
};
const updateDevice: Statement = {
  name: 'update-device',
  text: `UPDATE devices SET state = $2, weight = coalesce($3, weight),
      state_since = CASE WHEN state = $2 THEN state_since ELSE now() END
    WHERE id = $1`,
};
const holdsReplicas: Statement = {
  name: 'device-holds-replicas',
  text: 'SELECT EXISTS (SELECT FROM locations WHERE device_id = $1) AS held',
};
const deleteDevice: Statement = { name: 'delete-device', text: 'DELETE FROM devices WHERE id = $1' };

export interface DeviceChange {
  state?: DeviceState['state'];
  weight?: number;
}

/** @throws Problem not-found; state-conflict if it is dead and shall be something else */
export function changeDevice(db: Database, id: number, { state, weight }: DeviceChange): Promise<void> {
  return db.transaction(async (tx) => {
    const [device] = await tx.query<{ state: DeviceState['state'] }>(lockDevice, [id]);
    if (device === undefined) throw noDevice(id);
    if (device.state === 'dead' && state !== undefined && state !== 'dead') {
      throw new Problem(
        'state-conflict',
        `Device ${id} is dead: its replicas were given up. Empty the disk and add it as a new device.`,
      );
    }
    await tx.query(updateDevice, [id, state ?? device.state, weight ?? null]);
  });
}

/** Forgets a dead device that no replica is known on any more. @throws Problem not-found, state-conflict */
export function removeDevice(db: Database, id: number): Promise<void> {
  return db.transaction(async (tx) => {
    const [device] = await tx.query<{ state: DeviceState['state'] }>(lockDevice, [id]);
    if (device === undefined) throw noDevice(id);
    if (device.state !== 'dead') {
      throw new Problem('state-conflict', `Device ${id} is ${device.state}. Only a dead one is removed.`);
    }
    const [row] = await tx.query<{ held: boolean }>(holdsReplicas, [id]);
    if (row?.held) {
      throw new Problem(
        'state-conflict',
        `Replicas are still on record on device ${id}. Run cistern repair, then try again.`,
      );
    }
    await tx.query(deleteDevice, [id]);
  });
}

function noHost(host: string): Problem {
  return new Problem('not-found', `There is no host '${host}'.`);
}

function noDevice(id: number): Problem {
  return new Problem('not-found', `There is no device ${id}.`);
}
