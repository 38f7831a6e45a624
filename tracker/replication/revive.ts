// Devices that come back from the dead, because a person says so. What was on record of them was given up, and nothing
// on the disk is trusted: it is compared with the database like any left-over, verified, and counted if it is wanted.
// Only when that has come to its end does the device take writes again.
import type { DeviceState } from '../cluster/state.ts';
import type { Database, Statement } from '../database/database.ts';
import { writersEnded } from './drain.ts';
import type { Parts } from './parts.ts';
import { hurryRepairs } from './queue.ts';
import { sweepDevice } from './sweep.ts';

const LEASE_SECONDS = 60;

const findDead: Statement = {
  name: 'revive-find',
  text: `SELECT state_since::text AS since FROM devices WHERE id = $1 AND state = 'dead' AND reviving`,
};
export const lockDead: Statement = {
  name: 'revive-lock',
  text: `SELECT id FROM devices WHERE id = $1 AND state = 'dead' AND reviving AND state_since::text = $2 FOR UPDATE`,
};
const holdsGood: Statement = {
  name: 'revive-holds-good',
  text: `SELECT fid FROM locations WHERE device_id = $1 AND state = 'good' LIMIT 1`,
};
export const admitDevice: Statement = {
  name: 'revive-admit',
  text: `UPDATE devices SET state = 'readonly', state_since = now(), revived = clock_timestamp() WHERE id = $1`,
};

/**
 * Makes a dead device readable again, once no replica from before is on record as good and none can come any more:
 * all of it was given up by the walk, and commits that saw it alive have ended. True if it is readable now.
 */
export async function admit(db: Database, deviceId: number): Promise<boolean> {
  const [found] = await db.query<{ since: string }>(findDead, [deviceId]);
  if (found === undefined || !(await writersEnded(db))) return false;
  return db.transaction(async (tx) => {
    if ((await tx.query(lockDead, [deviceId, found.since])).length === 0) return false;
    if ((await tx.query(holdsGood, [deviceId])).length > 0) return false;
    await tx.query(admitDevice, [deviceId]);
    return true;
  });
}

const claim: Statement = {
  name: 'revive-claim',
  text: `UPDATE devices SET revive_lease = now() + $2 * interval '1 second'
    WHERE id = $1 AND state = 'readonly' AND reviving AND revive_lease <= now()`,
};
const renew: Statement = {
  name: 'revive-renew',
  text: `UPDATE devices SET revive_lease = now() + $2 * interval '1 second' WHERE id = $1`,
};
const finish: Statement = {
  name: 'revive-finish',
  text: `UPDATE devices SET state = 'alive', state_since = now(), reviving = false, revive_lease = '-infinity'
    WHERE id = $1 AND state = 'readonly' AND reviving`,
};

/** One step for each device that is to come back. */
export async function reviveDevices(parts: Parts, signal: AbortSignal): Promise<void> {
  const { db, state, log } = parts;
  for (const device of state.devices()) {
    if (!device.reviving || !device.up || signal.aborted) continue;
    const fields = { device: device.id, host: device.host.name };
    if (device.state === 'dead') {
      if (!(await admit(db, device.id))) continue;
      log.info(fields, 'a dead device is readable again; its inventory is compared');
      // What is readable again may be the last copy of something.
      await hurryRepairs(db);
      await state.refresh();
    } else if (device.state === 'readonly') {
      await compare(parts, device, signal);
    }
  }
}

async function compare(parts: Parts, device: DeviceState, signal: AbortSignal): Promise<void> {
  const { db, state, log } = parts;
  if ((await db.count(claim, [device.id, LEASE_SECONDS])) === 0) return;
  const renewal = setInterval(
    () =>
      void db
        .query(renew, [device.id, LEASE_SECONDS])
        .catch((err) => log.debug({ err }, 'lease not renewed')),
    (LEASE_SECONDS * 1000) / 3,
  );
  try {
    await sweepDevice(parts, device, signal);
  } finally {
    clearInterval(renewal);
  }
  if (signal.aborted || (await db.count(finish, [device.id])) === 0) return;
  await state.refresh();
  log.info({ device: device.id, host: device.host.name }, 'a device that was dead is alive again');
}
