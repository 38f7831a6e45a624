// Can this tracker serve? What /readyz answers.
import { delay } from '../../services/lifecycle.ts';
import type { Database, Statement } from '../database/database.ts';
import type { ClusterState } from './state.ts';
import { whyNotWritable } from './verdict.ts';

const PATIENCE_MS = 2_000;
const ping: Statement = { name: 'readiness', text: 'SELECT 1' };

/** Why this tracker cannot serve now, as a sentence; undefined if it can: the database answers, hosts take uploads. */
export async function whyNotReady(db: Database, state: ClusterState): Promise<string | undefined> {
  const patience = new AbortController();
  const answered = db.query(ping).then(
    () => true,
    () => false,
  );
  const inTime = await Promise.race([answered, delay(PATIENCE_MS, patience.signal).then(() => false)]);
  patience.abort();
  if (!inTime) return 'The database does not answer.';
  const readOnly = db.standing?.readOnly;
  if (readOnly !== undefined) return `The database takes no writes: ${readOnly}.`;
  const why = whyNotWritable(state.devices(), state.domains());
  return why === undefined ? undefined : `Too few storage nodes: ${why}.`;
}
