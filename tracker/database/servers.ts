// The servers that CISTERN_DATABASE_URL names, one session with one of them, and what it says of itself: whether it is
// the primary, and whether what is committed there would survive it.
import type { Socket } from 'node:net';
import pg from 'pg';

/** What a server says of itself. */
export interface Facts {
  standby: boolean;
  readOnly: boolean;
  /** The system identifier: the same for a primary and its standbys. */
  system: string;
  /** Grows with each promotion; 0 on a standby. */
  timeline: number;
  /** synchronous_standby_names */
  standbys: string;
  /** synchronous_commit */
  commits: string;
}

// The timeline is read from the WAL, which knows a promotion at once.
export const LOOK = `SELECT pg_is_in_recovery() AS standby, current_setting('transaction_read_only') = 'on' AS "readOnly",
    (SELECT system_identifier::text FROM pg_control_system()) AS system,
    CASE WHEN pg_is_in_recovery() THEN 0
      ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END AS timeline,
    current_setting('synchronous_standby_names') AS standbys, current_setting('synchronous_commit') AS commits`;

/**
 * A transaction that changes nothing and is still waited for like one that does. The WAL is one sequence: when this is
 * on the synchronous standby, so is everything that could be seen before it.
 */
export const BARRIER = { name: 'barrier', text: `SELECT pg_logical_emit_message(true, 'cistern', '')` };

/** How long a server may take to connect, or to say what it is. */
export const ANSWER_MS = 10_000;

/** Common to all connections: a dead machine is noticed 15 seconds after the last word. */
export const CONNECTION = {
  connectionTimeoutMillis: ANSWER_MS,
  keepAlive: true,
  keepAliveInitialDelayMillis: 5_000,
};

/** One URL for each server that a URL names: `postgres://user:password@a:5432,b:5432/database`, as libpq reads it. */
export function serversOf(url: string): string[] {
  const [, head = '', hosts = '', rest = ''] = /^(\w+:\/\/(?:[^/?#]*@)?)([^/?#@]*)(.*)$/s.exec(url) ?? [];
  if (!hosts.includes(',')) return [url];
  return hosts.split(',').map((host) => head + host + rest);
}

/** `host:port` of a URL that names one server, for logs: the rest of it is secret. */
export function addressOf(url: string): string {
  return /^\w+:\/\/(?:[^/?#]*@)?([^/?#@]*)/.exec(url)?.[1] ?? '';
}

/** Why this primary may not be written to, as a sentence's end; undefined: it may. */
export function whyReadOnly(
  { readOnly, standbys, commits }: Facts,
  synchronous: boolean,
): string | undefined {
  if (readOnly) return 'the server is set read-only';
  if (!synchronous) return undefined;
  if (standbys.trim() === '') return 'synchronous replication is off: synchronous_standby_names is empty';
  // remote_write has the standby's memory only: the standby's machine may crash with the primary's.
  if (commits === 'on' || commits === 'remote_apply') return undefined;
  return `commits do not wait for the standby's disk: synchronous_commit is ${commits}`;
}

/** A committed transaction whose wait for the standby was cut short: PostgreSQL reports success, with a warning. */
export class Unconfirmed extends Error {
  override name = 'Unconfirmed';
  constructor() {
    super('the wait for the synchronous standby was cancelled');
  }
}

const doubtful = new WeakSet<pg.ClientBase>();

/** From now on, remembers warnings of this connection, until `takeDoubt` asks. */
export function heedWarnings(client: pg.ClientBase): void {
  // Known by its code, for the words depend on the server's language. 57P01: the session was terminated in the wait.
  client.on('notice', ({ code }) => {
    if (code === '01000' || code === '57P01') doubtful.add(client);
  });
}

/** True if there was a warning since the last call: what was committed may not be on the standby. */
export function takeDoubt(client: pg.ClientBase): boolean {
  return doubtful.delete(client);
}

/** Ends a connection at once, whatever it waits for. What it had asked for may still happen. */
export function cut(client: pg.ClientBase): void {
  (client as unknown as { connection: { stream: Socket } }).connection.stream.destroy();
}

/** One session with one server, apart from the pool, to ask what it is. */
export class Session {
  readonly #client: pg.Client;

  private constructor(client: pg.Client) {
    this.#client = client;
  }

  static async open(url: string): Promise<Session> {
    const client = new pg.Client({ application_name: 'cistern-watch', ...CONNECTION, connectionString: url });
    // Without a listener, a connection that breaks would end the process; the next question fails then.
    client.on('error', () => {});
    heedWarnings(client);
    await client.connect();
    return new Session(client);
  }

  /** @throws if the server does not answer in time; the session is of no use then */
  async look(): Promise<Facts> {
    const query = { name: 'look', text: LOOK, query_timeout: ANSWER_MS };
    return (await this.#client.query<Facts>(query as pg.QueryConfig)).rows[0] as Facts;
  }

  /**
   * Resolves when all that was committed before is on the synchronous standby's disk, however long that takes.
   * @throws Unconfirmed; or because the connection broke
   */
  async confirm(): Promise<void> {
    await this.#client.query(BARRIER);
    if (takeDoubt(this.#client)) throw new Unconfirmed();
  }

  close(): void {
    cut(this.#client);
  }
}

/** What went wrong, in one line. An attempt at several addresses of one name fails with an error that has no words. */
export function failureInWords(error: unknown): string {
  const one = error instanceof AggregateError ? error.errors[0] : error;
  return (one instanceof Error ? one.message : String(one)).split('\n', 1)[0] as string;
}
