// Unlinks replicas whose location is in state 'removing', and nothing else ever does.
//
// A delete order may reach its node late, when the same blob has been placed there again (hazard 5). So a ticket to
// delete ends `ticketSeconds` after the database's time at which `locations.at` says that it was given; no new replica
// can be placed while the row stands; and the row goes only when an order that was given after the former ticket had
// ended finds nothing to delete.
import pLimit from 'p-limit';
import { failPoint } from '../../services/fail-points.ts';
import { CLOCK_TOLERANCE_MS } from '../../services/tickets.ts';
import type { DeviceState } from '../cluster/state.ts';
import type { Statement } from '../database/database.ts';
import { NodeUnreachable } from '../transfer/node-client.ts';
import type { Parts } from './parts.ts';
import { hurryRepairs } from './queue.ts';

const BATCH = 500;
const ORDERS_A_DEVICE = 8;

interface Order {
  fid: number;
  device: number;
  /** When this permission was given, exactly as the row has it. */
  given: string;
  givenMs: number;
}

// A row is due if no permission was given yet, or if the last one has ended for every clock that is in tolerance.
const permit: Statement = {
  name: 'remover-permit',
  text: `WITH due AS MATERIALIZED (
      SELECT l.fid, l.device_id FROM unnest($1::int[]) AS device (id), LATERAL (
        SELECT fid, device_id FROM locations
        WHERE device_id = device.id AND state = 'removing' AND at <= now() - $2 * interval '1 second'
        ORDER BY at LIMIT $3 FOR UPDATE SKIP LOCKED
      ) AS l
    )
    UPDATE locations l SET at = now() FROM due WHERE l.fid = due.fid AND l.device_id = due.device_id
    RETURNING l.fid, l.device_id AS device, l.at::text AS given, (extract(epoch FROM l.at) * 1000)::float8 AS "givenMs"`,
};

const forget: Statement = {
  name: 'remover-forget',
  text: `DELETE FROM locations l USING unnest($1::bigint[], $2::int[], $3::timestamptz[]) AS absent (fid, device, given)
    WHERE l.fid = absent.fid AND l.device_id = absent.device AND l.at = absent.given AND l.state = 'removing'`,
};

const forgetDead: Statement = {
  name: 'remover-forget-dead',
  text: `DELETE FROM locations l USING (
      SELECT r.fid, r.device_id FROM devices d, LATERAL (
        SELECT fid, device_id FROM locations WHERE device_id = d.id AND state = 'removing'
        ORDER BY at LIMIT $1 FOR UPDATE SKIP LOCKED
      ) AS r WHERE d.state = 'dead'
    ) AS dead WHERE l.fid = dead.fid AND l.device_id = dead.device_id`,
};

/**
 * One pass over the devices that can be read: gives permissions, sends the orders, and forgets what is proven absent.
 * @param ticketSeconds how long an order may be carried out
 * @returns true if there may be more to do at once
 */
export async function removeReplicas(
  { db, state, nodes, log, meters }: Parts,
  ticketSeconds: number,
  signal: AbortSignal,
): Promise<boolean> {
  // A node whose clock is wrong could take an ended ticket for a valid one.
  const devices = state
    .devices()
    .filter((device) => device.readable && Math.abs(device.host.clockOffsetMs) <= CLOCK_TOLERANCE_MS);
  const settled = ticketSeconds + (2 * CLOCK_TOLERANCE_MS) / 1000;
  const orders = await db.query<Order>(permit, [devices.map(({ id }) => id), settled, BATCH]);
  if (orders.length > 0) failPoint('remover-permitted');
  const absent: Order[] = [];
  await Promise.all(
    devices.map(async (device) => {
      const mine = orders.filter((order) => order.device === device.id);
      const { removed, missing } = await sendOrders(device, mine);
      meters.removed.inc(removed);
      absent.push(...missing);
    }),
  );
  if (orders.length > 0) failPoint('remover-ordered');
  if (absent.length > 0) {
    absent.sort((a, b) => a.fid - b.fid || a.device - b.device);
    await db.query(forget, [
      absent.map(({ fid }) => fid),
      absent.map(({ device }) => device),
      absent.map(({ given }) => given),
    ]);
    // A repair may have waited for such a place.
    await hurryRepairs(
      db,
      absent.map(({ fid }) => fid),
    );
  }
  const forgotten = await db.count(forgetDead, [BATCH]);
  return orders.length >= BATCH || forgotten >= BATCH;

  async function sendOrders(
    device: DeviceState,
    mine: Order[],
  ): Promise<{ removed: number; missing: Order[] }> {
    const limit = pLimit(ORDERS_A_DEVICE);
    const missing: Order[] = [];
    let removed = 0;
    // What is not sent or fails keeps its row, and is permitted again when this permission has ended.
    let away = false;
    const send = async (order: Order) => {
      if (away || signal.aborted) return;
      try {
        const expiresAt = order.givenMs + ticketSeconds * 1000;
        const answer = await nodes.delete(device, { fid: order.fid, expiresAt, signal });
        if (answer === 'absent') missing.push(order);
        else removed++;
      } catch (err) {
        away ||= err instanceof NodeUnreachable;
        log.warn({ err, fid: order.fid, device: device.id, host: device.host.name }, 'delete order failed');
      }
    };
    await Promise.all(mine.map((order) => limit(send, order)));
    return { removed, missing };
  }
}
