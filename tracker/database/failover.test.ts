// What a tracker does when its database fails over: with real servers that follow each other by streaming replication.
import { createServer, type Server } from 'node:net';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { EmbeddedServer } from '../../test/support/postgres.ts';
import { waitFor } from '../../test/support/wait.ts';
import { allocateBlock } from '../cluster/fids.ts';
import { confirmSeen, Database, type Statement } from './database.ts';
import { migrate } from './migrate.ts';
import { serversOf } from './servers.ts';

const TIMEOUT = { timeout: 120_000 };
const statement = (text: string): Statement => ({ name: '', text });
const insert = (x: number) => statement(`INSERT INTO written VALUES (${x})`);
const unavailable = { problem: 'database-unavailable' };

const opened: Database[] = [];
afterEach(async () => {
  for (const db of opened.splice(0)) await db.close();
});

/** Opens the database of these servers as a tracker does. */
function open(urls: string[], synchronous = true): Database {
  const [first = '', ...others] = urls.map((url) => new URL(url));
  const hosts = [first, ...others].map((url) => (url as URL).host).join(',');
  const url = (first as URL).href.replace((first as URL).host, hosts);
  const db = new Database({ url, max: 4, log: pino({ level: 'silent' }), application: 'pool', synchronous });
  opened.push(db);
  return db;
}

const written = async (server: EmbeddedServer) =>
  (await server.sql<{ x: number }>('SELECT x FROM written ORDER BY x')).map(({ x }) => x);

it('reads several servers from one URL as libpq does', () => {
  expect(serversOf('postgres://u:p%40@a:5432,[::1]:5433,c/db?x=1')).toEqual([
    'postgres://u:p%40@a:5432/db?x=1',
    'postgres://u:p%40@[::1]:5433/db?x=1',
    'postgres://u:p%40@c/db?x=1',
  ]);
  expect(serversOf('postgres://u:p,q@a/db')).toEqual(['postgres://u:p,q@a/db']);
});

describe('a primary and its synchronous standby', () => {
  let primary: EmbeddedServer;
  let standby: EmbeddedServer;
  let db: Database;
  beforeAll(async () => {
    primary = await EmbeddedServer.create({ synchronous_commit: 'on' });
    standby = await primary.standby('b');
    await primary.sql('CREATE TABLE written (x int)');
  }, TIMEOUT.timeout);
  afterAll(async () => {
    await standby?.remove();
    await primary?.remove();
  });
  beforeEach(async () => {
    await primary.set('synchronous_standby_names', 'b');
    await primary.sql('TRUNCATE written');
    db = open([primary.url, standby.url]);
  }, TIMEOUT.timeout);

  const waiting = async (query: string) =>
    primary.sql<{ pid: number }>(
      `SELECT pid FROM pg_stat_activity
       WHERE wait_event = 'SyncRep' AND application_name = 'pool' AND query LIKE '%${query}%'`,
    );
  const readOnly = (why: RegExp) =>
    waitFor(() => why.test(db.standing?.readOnly ?? ''), { what: `no writes because ${why}` });
  const writable = () =>
    waitFor(() => db.standing !== undefined && db.standing.readOnly === undefined, { what: 'writes' });

  it(
    'a commit whose wait was cancelled, which PostgreSQL calls a success, counts as unknown',
    TIMEOUT,
    async () => {
      await writable();
      for (const write of [() => db.query(insert(1)), () => db.transaction((tx) => tx.query(insert(1)))]) {
        standby.signal('SIGSTOP');
        let outcome: unknown;
        const writing = write().then(
          () => {
            outcome = 'success';
          },
          (error) => {
            outcome = error;
          },
        );
        try {
          // The statement that waits is the COMMIT of a transaction.
          const [session] = await waitFor(
            async () => {
              const found = [...(await waiting('INSERT')), ...(await waiting('COMMIT'))];
              return found.length > 0 && found;
            },
            { what: 'the commit to wait for the standby' },
          );
          expect(outcome).toBeUndefined();
          await primary.sql(`SELECT pg_cancel_backend(${session?.pid})`);
          await writing;
          expect(outcome).toMatchObject(unavailable);
          // It can be seen, though it is on one server only.
          expect(await written(primary)).toContain(1);
        } finally {
          standby.signal('SIGCONT');
        }
        await writable();
      }
    },
  );

  it('what is seen is told as an answer only when it is on the standby', TIMEOUT, async () => {
    await writable();
    standby.signal('SIGSTOP');
    let confirmed = false;
    const confirming = confirmSeen(db).then(() => {
      confirmed = true;
    });
    try {
      await waitFor(async () => (await waiting('pg_logical_emit_message')).length > 0, {
        what: 'the answer to wait for the standby',
      });
      expect(confirmed).toBe(false);
    } finally {
      standby.signal('SIGCONT');
    }
    await confirming;
  });

  it(
    'writes are refused while no standby confirms them, reads go on, and it mends itself',
    TIMEOUT,
    async () => {
      await writable();
      await db.query(insert(1));
      await standby.stop();
      await readOnly(/no synchronous standby confirms/);
      await expect(db.query(insert(2))).rejects.toMatchObject(unavailable);
      expect(() => db.assertWritable()).toThrow('takes no writes now');
      expect(await db.query(statement('SELECT x FROM written'))).toEqual([{ x: 1 }]);
      await standby.start();
      await writable();
      await db.query(insert(3));
      expect(await written(primary)).toEqual([1, 3]);
    },
  );

  it('writes that wait are cut off when no standby comes, and never acknowledged', TIMEOUT, async () => {
    await writable();
    await standby.stop();
    const began = performance.now();
    // As many as there are connections, so that reads depend on new ones.
    const writes = await Promise.allSettled([1, 2, 3, 4].map((x) => db.query(insert(x))));
    for (const write of writes) expect(write).toMatchObject({ status: 'rejected', reason: unavailable });
    // Before the limit of each statement (20 seconds) would have ended them one by one.
    expect(performance.now() - began).toBeLessThan(18_000);
    await readOnly(/no synchronous standby confirms/);
    expect(await db.query(statement('SELECT 1 AS one'))).toEqual([{ one: 1 }]);
    await standby.start();
    await writable();
  });

  it.each([
    ['synchronous_standby_names', '', /synchronous_standby_names is empty/],
    ['synchronous_commit', 'local', /synchronous_commit is local/],
    ['synchronous_commit', 'remote_write', /synchronous_commit is remote_write/],
    ['default_transaction_read_only', 'on', /set read-only/],
  ])('no writes with %s = %s, unless that is allowed', TIMEOUT, async (name, value, why) => {
    await writable();
    // The role's own setting, which can also be taken back by a session that is read-only because of it.
    const set = (to: string) =>
      name === 'synchronous_standby_names'
        ? primary.set(name, to)
        : primary.sql(`SET transaction_read_only = off; ALTER ROLE cistern SET ${name} = '${to}'`);
    await set(value);
    try {
      // Sessions have the settings of their beginning: a tracker that comes now.
      if (name !== 'synchronous_standby_names') db = open([primary.url, standby.url]);
      await readOnly(why);
      await expect(db.query(insert(1))).rejects.toMatchObject(unavailable);
      expect(await db.query(statement('SELECT x FROM written'))).toEqual([]);
      if (name.startsWith('synchronous')) await open([primary.url, standby.url], false).query(insert(2));
    } finally {
      await set(name === 'synchronous_standby_names' ? 'b' : name === 'synchronous_commit' ? 'on' : 'off');
    }
  });

  describe('the first server that is named', () => {
    let silent: Server;
    beforeAll(async () => {
      silent = createServer(() => {});
      await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    });
    afterAll(() => void silent.close());

    it.each(['is not there', 'says nothing'])('%s: the other one is used', TIMEOUT, async (how) => {
      const { port } = silent.address() as { port: number };
      const dead = new URL(primary.url);
      dead.port = how === 'says nothing' ? String(port) : '1';
      const other = open([dead.href, primary.url]);
      await waitFor(() => other.standing?.readOnly === undefined && other.standing, { what: 'the primary' });
      await other.query(insert(1));
    });

    it('is a standby: it is asked for nothing', TIMEOUT, async () => {
      const other = open([standby.url, primary.url]);
      await waitFor(() => other.standing, { what: 'the primary' });
      expect(other.standing?.url).toBe(primary.url);
    });

    it('is a standby, and no primary is named: nothing is read', TIMEOUT, async () => {
      const select = open([standby.url], false).query(statement('SELECT 1'));
      await expect(select).rejects.toMatchObject(unavailable);
    });
  });
});

describe('three servers in a row', () => {
  it(
    'the primary dies, the next is promoted, and the first comes back as a second primary',
    TIMEOUT,
    async () => {
      const a = await EmbeddedServer.create();
      const b = await a.standby('b');
      const c = await b.standby('c');
      try {
        await migrate(a.url);
        await a.sql('CREATE TABLE written (x int)');
        await a.set('synchronous_standby_names', 'b');
        await b.set('synchronous_standby_names', 'c');
        const db = open([a.url, b.url, c.url]);
        await waitFor(() => db.standing?.readOnly === undefined && db.standing, { what: 'writes' });
        await db.query(insert(1));
        const before = await db.transaction(allocateBlock);

        await a.kill();
        await expect(db.query(insert(2))).rejects.toMatchObject(unavailable);
        expect(await db.away()).toBeGreaterThanOrEqual(0);
        await b.promote();
        await waitFor(() => db.standing?.url === b.url && db.standing.readOnly === undefined, {
          what: 'writes at the new primary',
        });
        await db.query(insert(3));
        expect(await written(b)).toEqual([1, 3]);
        // The database is another one, as far as fids go: none can be given twice.
        expect((await db.transaction(allocateBlock)).next).toBeGreaterThanOrEqual(before.end + 1_000_000);

        // Not fenced, not a standby, and first in the list.
        await a.start();
        await a.set('synchronous_standby_names', '');
        await db.query(insert(4));
        await b.kill();
        await waitFor(() => db.standing === undefined, { what: 'the loss of the primary to be noticed' });
        // Many answers of the old one later, it is still not used.
        await expect(db.query(insert(5))).rejects.toMatchObject(unavailable);
        await expect(db.query(statement('SELECT 1'))).rejects.toMatchObject(unavailable);
        expect(await written(a)).toEqual([1]);
        await b.start();
        await waitFor(() => db.standing?.url === b.url && db.standing.readOnly === undefined, { what: 'b' });
        await db.query(insert(6));
        expect(await written(b)).toEqual([1, 3, 4, 6]);
      } finally {
        for (const server of [c, b, a]) await server.remove();
      }
    },
  );
});
