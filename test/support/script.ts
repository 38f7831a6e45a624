// Scripted interleavings: transactions that stop at chosen statements, or go without a lock, so that a race happens
// in the one order that matters, every time.
import type { Queryable } from '../../tracker/database/database.ts';
import type { TestNamespace } from './namespace.ts';
import { waitFor } from './wait.ts';

export interface Script {
  /** Statements, by name, that are left out: they answer one empty row, as if the lock had been taken. */
  omit?: string[];
  /** What to wait for before a statement, by its name. */
  before?: Record<string, () => Promise<unknown>>;
}

/** A transaction that follows `script`. */
export function scripted(tx: Queryable, { omit = [], before = {} }: Script): Queryable {
  const enter = async (name: string) => {
    await before[name]?.();
    return !omit.includes(name);
  };
  return {
    query: async (statement, values) =>
      (await enter(statement.name)) ? tx.query(statement, values) : [{} as never],
    count: async (statement, values) => ((await enter(statement.name)) ? tx.count(statement, values) : 1),
  };
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

/** Waits until `sessions` sessions of the test's database wait for a lock. */
export async function blocked(t: TestNamespace, sessions = 1): Promise<void> {
  await waitFor(
    async () => {
      const rows = await t.sql(
        `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      );
      return rows.length >= sessions;
    },
    { what: `${sessions} sessions wait for a lock` },
  );
}
