// Scripted interleavings: transactions that stop at chosen statements, or go without a lock, so that a race happens
// in the one order that matters, every time.
import type { Database, Queryable, Statement } from '../../tracker/database/database.ts';
import type { TestNamespace } from './namespace.ts';
import { waitFor } from './wait.ts';

export interface Script {
  /** Statements, by name, that are left out: they answer one empty row, as if the lock had been taken. */
  omit?: string[];
  /** Statements, by name, whose text is changed: without a lock, for instance. It must change. */
  alter?: Record<string, (text: string) => string>;
  /** What to wait for before a statement, by its name. */
  before?: Record<string, () => Promise<unknown>>;
}

/** A transaction that follows `script`. */
export function scripted(tx: Queryable, { omit = [], alter = {}, before = {} }: Script): Queryable {
  const enter = async (name: string) => {
    await before[name]?.();
    return !omit.includes(name);
  };
  const altered = (statement: Statement): Statement => {
    const change = alter[statement.name];
    if (change === undefined) return statement;
    const text = change(statement.text);
    if (text === statement.text)
      throw new Error(`The script does not fit the statement '${statement.name}'.`);
    // Without a name, so that it is not taken for the one that the connection has prepared.
    return { name: '', text };
  };
  return {
    query: async (statement, values) =>
      (await enter(statement.name)) ? tx.query(altered(statement), values) : [{} as never],
    count: async (statement, values) =>
      (await enter(statement.name)) ? tx.count(altered(statement), values) : 1,
  };
}

/** A database whose transactions follow `script`. */
export function scriptedDatabase(db: Database, script: Script): Database {
  const transaction: Database['transaction'] = (work, opening) =>
    db.transaction((tx) => work(scripted(tx, script)), opening);
  return { transaction } as Database;
}

export interface Gate {
  /** Resolves when somebody has come to the gate. */
  reached: Promise<void>;
  /** Comes to the gate and waits until it is opened. */
  pass(): Promise<void>;
  open(): void;
}

export function gate(): Gate {
  const reached = Promise.withResolvers<void>();
  const opened = Promise.withResolvers<void>();
  return {
    reached: reached.promise,
    pass() {
      reached.resolve();
      return opened.promise;
    },
    open: opened.resolve,
  };
}

/** How many sessions of the test's database wait for a lock. */
async function waiting(t: TestNamespace): Promise<number> {
  const rows = await t.sql(
    `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
  );
  return rows.length;
}

/** Waits until `sessions` sessions of the test's database wait for a lock. */
export async function blocked(t: TestNamespace, sessions = 1): Promise<void> {
  await waitFor(async () => (await waiting(t)) >= sessions, {
    what: `${sessions} sessions wait for a lock`,
  });
}

/**
 * Waits until `work`, which was just begun, has ended, or one session more than `before` waits for a lock.
 * @returns how many wait
 */
export async function endedOrBlocked(t: TestNamespace, work: Promise<unknown>, before = 0): Promise<number> {
  let ended = false;
  const end = () => {
    ended = true;
  };
  work.then(end, end);
  let sessions = before;
  await waitFor(
    async () => {
      sessions = await waiting(t);
      return ended || sessions > before;
    },
    { what: 'the end, or a wait for a lock' },
  );
  return sessions;
}
