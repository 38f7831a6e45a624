// Trackers that start at once on a database without a schema, or with the schema of a former version.
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDatabase } from '../../test/support/postgres.ts';
import { migrate, newestSchema } from './migrate.ts';

let database: Awaited<ReturnType<typeof createDatabase>>;
let client: pg.Client;
beforeEach(async () => {
  database = await createDatabase();
  client = new pg.Client({ connectionString: database.url });
  await client.connect();
});
afterEach(async () => {
  await client.end();
  await database.drop();
});

const versions = async () =>
  (await client.query<{ version: string }>('SELECT version FROM schema_version ORDER BY version')).rows.map(
    ({ version }) => Number(version),
  );
const together = () => Promise.allSettled(Array.from({ length: 3 }, () => migrate(database.url)));

describe('migrations of trackers that start at once', () => {
  it('are made by one of them, while the others wait', async () => {
    const settled = await together();
    const applied = settled.map((one) => (one.status === 'fulfilled' ? one.value : one.reason));
    const known = await versions();
    expect(applied.filter((count) => count === 0)).toHaveLength(2);
    // The table begins with a row for the empty database.
    expect(Math.max(...applied)).toBe(known.filter((version) => version > 0).length);
    expect(Math.max(...known)).toBe(await newestSchema());
    expect(await migrate(database.url)).toBe(0);
  });

  it('are made by one of them from a former version on', async () => {
    await migrate(database.url, 3);
    const before = await versions();
    const applied = (await together()).map((one) => (one.status === 'fulfilled' ? one.value : one.reason));
    const after = await versions();
    expect(applied.sort()).toEqual([0, 0, after.length - before.length]);
  });

  it('would fail in some of them, did they not wait for each other', async () => {
    // A function of that name that does not lock stands before PostgreSQL's.
    await client.query(
      `CREATE FUNCTION public.pg_advisory_xact_lock(bigint) RETURNS void LANGUAGE sql AS 'SELECT'`,
    );
    const { rows } = await client.query<{ name: string }>('SELECT quote_ident(current_database()) AS name');
    await client.query(`ALTER DATABASE ${rows[0]?.name} SET search_path = public, pg_catalog`);
    const settled = await together();
    expect(settled.map(({ status }) => status)).toContain('rejected');
  });
});
