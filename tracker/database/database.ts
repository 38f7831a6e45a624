// The trackers' door to PostgreSQL: the sessions with its primary, prepared statements, transactions that are repeated
// when they collide, and one kind of error for 'the database is away'.
import pg from 'pg';
import { delay } from '../../services/lifecycle.ts';
import type { Logger } from '../../services/logging.ts';
import { Problem } from '../../services/problems.ts';
import { Primary, type Standing } from './primary.ts';
import { ANSWER_MS, BARRIER, serversOf, takeDoubt, Unconfirmed } from './servers.ts';
import { Sessions } from './sessions.ts';

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

export interface DatabaseOptions {
  /** May name several servers, of which one is the primary. */
  url: string;
  /** Most connections, besides those that watch the servers. */
  max: number;
  log: Logger;
  application?: string;
  /** Writes only where each commit waits for a synchronous standby. */
  synchronous?: boolean;
}

const TRIES = 8;
/** How long a request waits for a primary that was there a moment ago. */
const RETURN_MS = 1_000;
/** How long what is under way may take when writes are to be refused from now on. */
const FINISH_MS = 1_000;

export class Database implements Queryable {
  readonly #options: DatabaseOptions;
  readonly #primary: Primary;
  #sessions: Sessions | undefined;
  /** Until then (our monotonic clock) requests wait for a primary, if there is none. */
  #waitUntil = performance.now() + ANSWER_MS;
  #arrival = Promise.withResolvers<void>();

  constructor(options: DatabaseOptions) {
    this.#options = options;
    this.#primary = new Primary({
      urls: serversOf(options.url),
      synchronous: options.synchronous ?? false,
      log: options.log,
      changed: (standing) => this.#follow(standing),
    });
  }

  async query<Row extends object>(statement: Statement, values: readonly unknown[] = []): Promise<Row[]> {
    return (await this.#run<Row>(statement, values)).rows;
  }

  async count(statement: Statement, values: readonly unknown[] = []): Promise<number> {
    return (await this.#run(statement, values)).rowCount ?? 0;
  }

  /**
   * Runs `work` in one READ COMMITTED transaction. If it collides with another (deadlock, a unique or foreign key
   * that a concurrent transaction just took away), it is rolled back and run again, so `work` must be repeatable.
   * @param opening SQL without parameters that is sent along with BEGIN, in one message
   * @throws Problem database-unavailable; the outcome is then unknown if the connection broke in COMMIT
   */
  async transaction<T>(work: (tx: Queryable) => Promise<T>, opening = ''): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#transactionOnce(work, opening);
      } catch (error) {
        if (attempt === TRIES || !isCollision(error)) throw this.#translated(error);
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 5 * 2 ** attempt));
      }
    }
  }

  /** The primary that is in use; undefined if none answers. */
  get standing(): Standing | undefined {
    return this.#primary.standing;
  }

  /** For how many seconds what is written may not have come through, though a primary answers; 0 if it does. */
  get writeSilence(): number {
    return this.#primary.writeSilence;
  }

  /** The last failure of each server; undefined for one that answers, or did not yet. */
  get failures(): unknown[] {
    return this.#primary.failures;
  }

  /**
   * For how many seconds no primary has answered; undefined if one does. After an error it waits, for a second at
   * most, until that is known.
   */
  async away(): Promise<number | undefined> {
    if (this.standing !== undefined) await this.#primary.check();
    return this.standing === undefined ? this.#primary.silence : undefined;
  }

  /** Refuses at once what would be refused later. @throws Problem database-unavailable if nothing may be written now */
  assertWritable(): void {
    if (this.standing?.readOnly !== undefined) throw readOnlyProblem();
  }

  async close(): Promise<void> {
    this.#primary.stop();
    await this.#sessions?.close();
  }

  #follow(standing: Standing | undefined): void {
    const former = this.#sessions;
    this.#sessions = undefined;
    if (standing === undefined) {
      this.#waitUntil = performance.now() + RETURN_MS;
      this.#arrival = Promise.withResolvers();
    } else {
      const { max, log, application = 'cistern-tracker', synchronous = false } = this.#options;
      const broken = () => void this.#primary.check();
      this.#sessions = new Sessions({ standing, synchronous, max, log, application, broken });
      this.#arrival.resolve();
    }
    // What is under way at a server that was lost may hang; at one that is still there, it ends or waits for a standby.
    const isThere = former?.standing.url === standing?.url;
    former?.retire(isThere ? FINISH_MS : 0);
  }

  async #take(): Promise<pg.PoolClient> {
    for (;;) {
      const client = await (this.#sessions ?? (await this.#awaited())).take();
      if (client !== undefined) return client;
    }
  }

  async #awaited(): Promise<Sessions> {
    const left = this.#waitUntil - performance.now();
    if (left > 0) await Promise.race([this.#arrival.promise, delay(left)]);
    if (this.#sessions !== undefined) return this.#sessions;
    throw unavailable(undefined);
  }

  async #run<Row extends object>(statement: Statement, values: readonly unknown[]) {
    try {
      return await this.#with((client) => run<Row>(client, statement, values));
    } catch (error) {
      throw this.#translated(error);
    }
  }

  async #transactionOnce<T>(work: (tx: Queryable) => Promise<T>, opening: string): Promise<T> {
    return this.#with(async (client) => {
      const tx: Queryable = {
        query: async <Row extends object>(statement: Statement, values: readonly unknown[] = []) =>
          (await run<Row>(client, statement, values)).rows,
        count: async (statement, values = []) => (await run(client, statement, values)).rowCount ?? 0,
      };
      try {
        await client.query(`BEGIN; ${opening}`);
        const result = await work(tx);
        await client.query('COMMIT');
        return result;
      } catch (error) {
        if (!isConnectionError(error)) await client.query('ROLLBACK');
        throw error;
      }
    });
  }

  /** Gives `work` a connection. What it committed counts only if PostgreSQL did not warn that it may be lost. */
  async #with<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await this.#take();
    let broken: Error | undefined;
    try {
      const result = await work(client);
      if (takeDoubt(client)) throw new Unconfirmed();
      return result;
    } catch (error) {
      takeDoubt(client);
      if (isConnectionError(error)) broken = error;
      throw error;
    } finally {
      client.release(broken);
    }
  }

  #translated(error: unknown): unknown {
    if (error instanceof Problem) return error;
    if (error instanceof Unconfirmed) {
      this.#options.log.error(
        'the wait for the synchronous standby was cancelled: what was written may not be there after a failover',
      );
      return unavailable(error);
    }
    const code = sqlState(error);
    if (isReadOnly(error)) return readOnlyProblem(error);
    // An error without an SQLSTATE comes from the connection: refused, reset, timed out, ended.
    if (code === undefined ? !isConnectionError(error) : !AWAY.test(code)) return error;
    if (code === undefined || code.startsWith('57P')) void this.#primary.check();
    return unavailable(error);
  }
}

/**
 * Makes sure that what this session can see would survive the primary, before a former outcome is told as the answer:
 * a commit whose wait for the standby was cut short, or that a crash left behind, can be seen and may yet be lost.
 */
export async function confirmSeen(db: Queryable): Promise<void> {
  await db.query(BARRIER);
}

function run<Row extends object>(client: pg.PoolClient, statement: Statement, values: readonly unknown[]) {
  return client.query<Row>({ ...statement, values: values as unknown[] });
}

/** True for errors after which the same transaction, run again, can succeed. */
export function isCollision(error: unknown): boolean {
  const code = sqlState(error);
  return code === '40P01' || code === '40001' || code === '23503' || code === '23505';
}

/** True if the database did not answer, or refused to write; the outcome of what was asked of it is not known. */
export function isUnavailable(error: unknown): error is Problem {
  return error instanceof Problem && error.problem === 'database-unavailable';
}

/** True if PostgreSQL refused a statement because it writes, and nothing may be written here. */
export function isReadOnly(error: unknown): boolean {
  return sqlState(error) === '25006';
}

/** The SQLSTATE of an error that PostgreSQL reported, else undefined. */
export function sqlState(error: unknown): string | undefined {
  const cause = error instanceof Problem ? error.cause : error;
  return cause instanceof pg.DatabaseError ? cause.code : undefined;
}

// Connection exceptions (08), shutdown and start-up (57P), too many connections, and our own time limits.
const AWAY = /^(08...|57P..|53300|57014|55P03)$/;

function unavailable(cause: unknown): Problem {
  const detail = 'The database did not answer. Nothing is lost; try again shortly.';
  return new Problem('database-unavailable', detail, { cause });
}

function readOnlyProblem(cause?: unknown): Problem {
  const detail =
    'The database takes no writes now, since they could be lost. Reads go on; try again shortly.';
  return new Problem('database-unavailable', detail, { cause });
}

function isConnectionError(error: unknown): error is Error {
  if (!(error instanceof Error) || error instanceof pg.DatabaseError || error instanceof Problem)
    return false;
  const { code } = error as NodeJS.ErrnoException;
  return (
    (code !== undefined && /^(E[A-Z]+|UND_)/.test(code)) ||
    /^(Connection terminated|timeout exceeded|Query read timeout|Client has encountered|Cannot use a pool|Client was closed)/.test(
      error.message,
    )
  );
}
