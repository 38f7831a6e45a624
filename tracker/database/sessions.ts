// The pool of connections to one primary, for as long as it is the primary and takes writes, or takes none.
import pg from 'pg';
import type { Logger } from '../../services/logging.ts';
import type { Standing } from './primary.ts';
import { CONNECTION, cut, type Facts, heedWarnings, LOOK, whyReadOnly } from './servers.ts';

// Statistics lag behind a table that fills quickly, and a plan made for an empty table stays. Every statement here is
// meant to be served by an index, so the planner is told so, once and for all (docs/decisions/index-plans.md).
export const PLANNER =
  '-c enable_seqscan=off -c enable_bitmapscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off';
const LIMITS = {
  statement_timeout: 15_000,
  lock_timeout: 10_000,
  idle_in_transaction_session_timeout: 30_000,
  // No limit of the server's ends the wait for a synchronous standby. This one is ours.
  query_timeout: 20_000,
};

export interface SessionsOptions {
  standing: Standing;
  synchronous: boolean;
  max: number;
  log: Logger;
  application: string;
  /** A connection broke that nobody was using. */
  broken(): void;
}

export class Sessions {
  readonly standing: Standing;
  readonly #pool: pg.Pool;
  readonly #open = new Set<pg.ClientBase>();
  readonly #waiting = new Set<(client: undefined) => void>();
  #retired = false;

  constructor({ standing, synchronous, max, log, application, broken }: SessionsOptions) {
    this.standing = standing;
    this.#pool = new pg.Pool({
      ...CONNECTION,
      ...LIMITS,
      connectionString: standing.url,
      max,
      idleTimeoutMillis: 60_000,
      application_name: application,
      options: PLANNER,
      types: { getTypeParser },
      onConnect: (client) => examine(client, standing, synchronous),
    });
    // Without a listener, an idle connection that breaks would end the process.
    this.#pool.on('error', (err) => {
      if (this.#retired) return;
      log.warn({ err: err.message }, 'database connection lost');
      broken();
    });
    this.#pool.on('connect', (client) => {
      // So would one that breaks between two statements of a transaction; the next statement fails then, and says why.
      client.on('error', () => {});
      heedWarnings(client);
      this.#open.add(client);
    });
    this.#pool.on('remove', (client) => this.#open.delete(client));
  }

  /** A connection, to be released; undefined if these sessions were retired meanwhile. */
  take(): Promise<pg.PoolClient | undefined> {
    if (this.#retired) return Promise.resolve(undefined);
    return new Promise((resolve, reject) => {
      this.#waiting.add(resolve);
      this.#pool.connect().then(
        (client) => (this.#waiting.delete(resolve) ? resolve(client) : client.release()),
        (error) => this.#waiting.delete(resolve) && reject(error),
      );
    });
  }

  /** Gives out no more of them; those that are still busy after `patienceMs` are cut off. */
  retire(patienceMs: number): void {
    this.#retired = true;
    for (const resolve of this.#waiting) resolve(undefined);
    this.#waiting.clear();
    this.#pool.end().catch(() => {});
    setTimeout(() => {
      for (const client of this.#open) cut(client);
    }, patienceMs).unref();
  }

  /** Ends when all that is under way has ended. */
  async close(): Promise<void> {
    this.#retired = true;
    await this.#pool.end();
  }
}

/** What was found when this server was chosen must hold for each connection: it may be another server by now. */
async function examine(client: pg.ClientBase, standing: Standing, synchronous: boolean): Promise<void> {
  const facts = (await client.query<Facts>({ name: 'look', text: LOOK })).rows[0] as Facts;
  const isIt = !facts.standby && facts.system === standing.system && facts.timeline === standing.timeline;
  const isWritable = whyReadOnly(facts, synchronous) === undefined;
  if (!isIt || (!isWritable && standing.readOnly === undefined)) {
    throw new Error('Connection terminated: this is not the primary that it was');
  }
  // Where nothing may be written, the server itself refuses what writes.
  if (standing.readOnly !== undefined) {
    await client.query('SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY');
  }
}

// fids, sizes and counts are below 2^53: numbers, not strings.
function getTypeParser(oid: number, format?: 'text' | 'binary'): (value: string) => unknown {
  if (oid === pg.types.builtins.INT8) return Number;
  if (oid === 1016) return (text) => (text === '{}' ? [] : text.slice(1, -1).split(',').map(Number));
  return pg.types.getTypeParser(oid, format) as (value: string) => unknown;
}
