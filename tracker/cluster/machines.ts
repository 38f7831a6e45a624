// Hosts and devices as rows: what an operator changes about them. What nodes say of themselves is in registration.ts,
// what becomes of a device that is to come back from the dead in replication/revive.ts.
import { Problem } from '../../services/problems.ts';
import type { Database, Queryable, Statement } from '../database/database.ts';
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

const livingOfHost: Statement = {
  name: 'living-devices-of-host',
  text: `SELECT id, state, reviving FROM devices WHERE host_id = $1 AND state <> 'dead' ORDER BY id FOR UPDATE`,
};

/**
 * Gives all devices of a host that are not dead a state, at once.
 * @param graceSeconds as for `changeDevice`
 * @throws Problem not-found; state-conflict if one of them cannot be given it: then none is
 */
export function changeHost(
  db: Database,
  host: string,
  state: DeviceState['state'],
  graceSeconds: number,
): Promise<void> {
  return db.transaction(async (tx) => {
    const [row] = await tx.query<{ id: number }>(lockHost, [host]);
    if (row === undefined) throw noHost(host);
    for (const device of await tx.query<Locked & { id: number }>(livingOfHost, [row.id])) {
      await change(tx, device.id, device, { state }, graceSeconds);
    }
  });
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

interface Locked {
  state: DeviceState['state'];
  reviving: boolean;
}
const lockDevice: Statement = {
  name: 'lock-device',
  text: 'SELECT state, reviving FROM devices WHERE id = $1 FOR UPDATE',
};
const updateWeight: Statement = {
  name: 'update-weight',
  text: 'UPDATE devices SET weight = $2 WHERE id = $1',
};
// Uploads that began before a drain may still bring replicas, for as long as commits count the device.
const updateState: Statement = {
  name: 'update-device-state',
  text: `UPDATE devices SET state = $2, state_since = now(), reviving = false, drain_first = NULL, drain_last = NULL,
      accepts_until = CASE WHEN $2 = 'drain' THEN now() + $3 * interval '1 second' ELSE 'infinity' END
    WHERE id = $1`,
};
const reviveDead: Statement = {
  name: 'device-revive',
  text: 'UPDATE devices SET reviving = true WHERE id = $1',
};
const holdsReplicas: Statement = {
  name: 'device-holds-replicas',
  text: 'SELECT EXISTS (SELECT FROM locations WHERE device_id = $1) AS held',
};
// A disk that is out of service may be gone for good; one that answers would be a new device of this number at once.
const whoServes: Statement = {
  name: 'device-who-serves',
  text: `SELECT h.name FROM devices d JOIN hosts h ON h.id = d.host_id JOIN heartbeats b ON b.host_id = d.host_id,
      jsonb_array_elements(b.reports) r
    WHERE d.id = $1 AND b.at >= clock_timestamp() - make_interval(secs => $2)
      AND r->>'uuid' = d.uuid::text AND r->>'condition' <> 'out'`,
};
const deleteDevice: Statement = { name: 'delete-device', text: 'DELETE FROM devices WHERE id = $1' };

export interface DeviceChange {
  state?: DeviceState['state'];
  weight?: number;
}

/**
 * @param graceSeconds how long uploads that began before a drain may still arrive
 * @throws Problem not-found; state-conflict if it is dead, or just coming back, and shall be something else
 */
export function changeDevice(
  db: Database,
  id: number,
  wanted: DeviceChange,
  graceSeconds: number,
): Promise<void> {
  return db.transaction(async (tx) => {
    const [device] = await tx.query<Locked>(lockDevice, [id]);
    if (device === undefined) throw noDevice(id);
    await change(tx, id, device, wanted, graceSeconds);
  });
}

async function change(
  tx: Queryable,
  id: number,
  device: Locked,
  { state = device.state, weight }: DeviceChange,
  graceSeconds: number,
): Promise<void> {
  if (weight !== undefined) await tx.query(updateWeight, [id, weight]);
  if (state === device.state) return;
  if (device.state === 'dead') {
    throw new Problem(
      'state-conflict',
      `Device ${id} is dead: its replicas were given up. If its disk is back: cistern device revive ${id}.`,
    );
  }
  if (device.reviving && state === 'alive') {
    throw new Problem(
      'state-conflict',
      `The inventory of device ${id} is being compared. It is alive by itself when that is done.`,
    );
  }
  await tx.query(updateState, [id, state, graceSeconds]);
}

/**
 * A dead device is to come back: its inventory will be compared, and only then it takes writes.
 * @throws Problem not-found; state-conflict if it is not dead
 */
export function reviveDevice(db: Database, id: number): Promise<void> {
  return db.transaction(async (tx) => {
    const [device] = await tx.query<Locked>(lockDevice, [id]);
    if (device === undefined) throw noDevice(id);
    if (device.state !== 'dead') {
      throw new Problem('state-conflict', `Device ${id} is ${device.state}. Only a dead one is revived.`);
    }
    await tx.query(reviveDead, [id]);
  });
}

/**
 * Forgets a device that no replica is on record on any more: a dead one, or one that was drained and is empty. Not while
 * its disk is in use: the storage node would register it again, as a new one, and it would get new files.
 * @param isEmpty says of a drained device whether nothing can come any more (replication/drain.ts)
 * @param downSeconds how old the last heartbeat of its host may be for the host to be up
 * @throws Problem not-found, state-conflict
 */
export async function removeDevice(
  db: Database,
  id: number,
  isEmpty: () => Promise<boolean>,
  downSeconds: number,
): Promise<void> {
  const empty = await isEmpty();
  await db.transaction(async (tx) => {
    const [device] = await tx.query<Locked>(lockDevice, [id]);
    if (device === undefined) throw noDevice(id);
    if (device.state !== 'dead' && !(device.state === 'drain' && empty)) {
      const todo = device.state === 'drain' ? 'wait until it is empty' : 'drain it, or declare it dead';
      throw new Problem(
        'state-conflict',
        `Device ${id} is ${device.state}: ${todo}. See: cistern device list.`,
      );
    }
    const [row] = await tx.query<{ held: boolean }>(holdsReplicas, [id]);
    if (row?.held) {
      throw new Problem(
        'state-conflict',
        `Replicas are still on record on device ${id}. Run cistern repair, then try again.`,
      );
    }
    const [host] = await tx.query<{ name: string }>(whoServes, [id, downSeconds]);
    if (host !== undefined) {
      throw new Problem(
        'state-conflict',
        `Host ${host.name} still has the disk of device ${id} in use. Take it out of CISTERN_DEVICES there and restart ` +
          `that storage node, or stop it; ${downSeconds} seconds after its last heartbeat at the latest, try again.`,
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
