// How far each device's disk had come when it was seen last. One that comes back with less was set back (a snapshot, an old
// image, a wiped disk with its former marker): it stays out until an operator accepts it as it is.
import { Problem } from '../../services/problems.ts';
import type { Database, Queryable, Statement } from '../database/database.ts';

/** SQL: keeps the sequences of `reports` (jsonb, DeviceReports of one host `r`, with the devices `d`) for which `which` holds. */
export const saveSequences = (reports: string, which: string) => `
  INSERT INTO device_sequences (device_id, sequence)
  SELECT d.id, r.sequence FROM jsonb_to_recordset(${reports}) AS r (id int, uuid uuid, condition text, sequence bigint)
  JOIN devices d ON d.id = r.id AND d.uuid = r.uuid
  WHERE r.sequence IS NOT NULL AND ${which} ORDER BY d.id
  ON CONFLICT (device_id) DO UPDATE SET sequence = excluded.sequence
    WHERE excluded.sequence > device_sequences.sequence`;

const saveAccepted: Statement = {
  name: 'sequences-of-accepted',
  text: saveSequences('$1::jsonb', 'r.id = ANY ($2::int[])'),
};

/** Keeps what the devices that were accepted just now say of themselves. */
export async function keepSequences(tx: Queryable, reports: object[], accepted: number[]): Promise<void> {
  await tx.query(saveAccepted, [JSON.stringify(reports), accepted]);
}

/** Why a disk is refused that has less on it than before. */
export function whySetBack(id: number): string {
  return `the disk was set back to an earlier state (a snapshot, an old image?); to use it as it is: cistern device accept ${id}`;
}

const forgetSequence: Statement = {
  name: 'sequence-forget',
  text: 'DELETE FROM device_sequences WHERE device_id = $1',
};
const sweepNext: Statement = {
  name: 'sequence-sweep-next',
  text: `UPDATE devices SET swept = '-infinity' WHERE id = $1`,
};

/**
 * Takes the disk as it is, at an operator's word. It is registered within seconds, and its inventory is compared next: what
 * it lacks is repaired, what was deleted since is removed.
 * @throws Problem not-found
 */
export function acceptDevice(db: Database, id: number): Promise<void> {
  return db.transaction(async (tx) => {
    if ((await tx.count(sweepNext, [id])) === 0) throw new Problem('not-found', `There is no device ${id}.`);
    await tx.query(forgetSequence, [id]);
  });
}
