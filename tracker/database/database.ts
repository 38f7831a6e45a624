// The trackers' door to PostgreSQL: a bounded pool, prepared statements, transactions that are repeated when they
// collide, and one kind of error for 'the database is away'.
import pg from 'pg';
import type { Logger } from '../../services/logging.ts';
import { Problem } from '../../services/problems.ts';

/** A statement that is prepared once on each connection. Define it as a constant beside its caller. */
export interface Statement {
  name: string;
  text: string;
}

export interface Queryable {
  /** Runs one statement and returns its rows. */
  query<Row extends object>(statement: Statement, values?: readonly unknown[]): Promise<Row[]>;
  /** Runs one statement and returns how many rows it touched. */
  count(statement: Statement, values?: readonly unknown[]): Promise<number>;
}

// Statistics lag behind a table that fills quickly, and a plan made for an empty table stays. Every statement here is
// meant to be served by an index, so the planner is told so, once and for all (docs/decisions/index-plans.md).
export const PLANNER =
  '-c enable_seqscan=off -c enable_bitmapscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off';
const LIMITS = {
  statement_timeout: 15_000,
  lock_timeout: 10_000,
  idle_in_transaction_session_timeout: 30_000,
};

const TRIES = 8;

export class Database implements Queryable {
  readonly #pool: pg.Pool;

  constructor(options: { url: string; max: number; log: Logger; application?: string }) {
    this.#pool = new pg.Pool({
      connectionString: options.url,
      max: options.max,
      connectionTimeoutMillis: 5_000,
      idleTimeoutMillis: 60_000,
      query_timeout: 20_000,
      keepAlive: true,
      application_name: options.application ?? 'cistern-tracker',
      options: PLANNER,
      types: { getTypeParser },
      ...LIMITS,
    });
    // Without a listener, an idle connection that breaks would end the process.
    this.#pool.on('error', (err) => options.log.warn({ err: err.message }, 'database connection lost'));
    // So would one that breaks between two statements of a transaction; the next statement fails then, and says why.
    this.#pool.on('connect', (client) => client.on('error', () => {}));
  }

  async query<Row extends object>(statement: Statement, values: readonly unknown[] = []): Promise<Row[]> {
    try {
      return (await this.#pool.query<Row>({ ...statement, values: values as unknown[] })).rows;
    } catch (error) {
      throw translated(error);
    }
  }

  async count(statement: Statement, values: readonly unknown[] = []): Promise<number> {
    try {
      return (await this.#pool.query({ ...statement, values: values as unknown[] })).rowCount ?? 0;
    } catch (error) {
      throw translated(error);
    }
  }

  /**
   * Runs `work` in one READ COMMITTED transaction. If it collides with another (deadlock, a unique or foreign key
   * that a concurrent transaction just took away), it is rolled back and run again, so `work` must be repeatable.
   * @throws Problem database-unavailable; the outcome is then unknown if the connection broke in COMMIT
   */
  async transaction<T>(work: (tx: Queryable) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#transactionOnce(work);
      } catch (error) {
        if (attempt === TRIES || !isCollision(error)) throw translated(error);
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 5 * 2 ** attempt));
      }
    }
  }

  async #transactionOnce<T>(work: (tx: Queryable) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect();
    const tx: Queryable = {
      query: async <Row extends object>(statement: Statement, values: readonly unknown[] = []) =>
        (await client.query<Row>({ ...statement, values: values as unknown[] })).rows,
      count: async (statement, values = []) =>
        (await client.query({ ...statement, values: values as unknown[] })).rowCount ?? 0,
    };
    let broken: Error | undefined;
    try {
      await client.query('BEGIN');
      const result = await work(tx);
      await client.query('COMMIT');
      return result;
    } catch (error) {
      await client.query('ROLLBACK').catch((rollbackError: Error) => {
        broken = rollbackError;
      });
      throw error;
    } finally {
      client.release(broken);
    }
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }
}

/** True for errors after which the same transaction, run again, can succeed. */
export function isCollision(error: unknown): boolean {
  const code = sqlState(error);
  return code === '40P01' || code === '40001' || code === '23503' || code === '23505';
}

/** The SQLSTATE of an error that PostgreSQL reported, else undefined. */
export function sqlState(error: unknown): string | undefined {
  const cause = error instanceof Problem ? error.cause : error;
  return cause instanceof pg.DatabaseError ? cause.code : undefined;
}

// Connection exceptions (08), shutdown and start-up (57P), too many connections, read-only, and our own time limits.
const AWAY = /^(08...|57P..|53300|25006|57014|55P03)$/;

function translated(error: unknown): unknown {
  if (error instanceof Problem) return error;
  const code = sqlState(error);
  // An error without an SQLSTATE comes from the connection: refused, reset, timed out, ended.
  const away = code === undefined ? error instanceof Error && isConnectionError(error) : AWAY.test(code);
  if (!away) return error;
  return new Problem(
    'database-unavailable',
    'The database did not answer. Nothing is lost; try again shortly.',
    {
      cause: error,
    },
  );
}

function isConnectionError(error: Error): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return (
    (code !== undefined && /^(E[A-Z]+|UND_)/.test(code)) ||
    /^(Connection terminated|timeout exceeded|Query read timeout|Client has encountered|Cannot use a pool)/.test(
      error.message,
    )
  );
}

// fids, sizes and counts are below 2^53: numbers, not strings.
function getTypeParser(oid: number, format?: 'text' | 'binary'): (value: string) => unknown {
  if (oid === pg.types.builtins.INT8) return Number;
  if (oid === 1016) return (text) => (text === '{}' ? [] : text.slice(1, -1).split(',').map(Number));
  return pg.types.getTypeParser(oid, format) as (value: string) => unknown;
}
