// Brings the database's schema up to date. Any number of trackers may start at once: one migrates, the others wait.
import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import Postgrator from 'postgrator';

// Any constant will do, as long as nothing else on this database uses it.
const LOCK = 0x0c15_7e24;

const FOLDER = new URL('../schema/', import.meta.url);

/** The version of the schema that this program works with. */
export async function newestSchema(): Promise<number> {
  return Math.max(...(await readdir(FOLDER)).map((name) => Number.parseInt(name, 10)));
}

/**
 * Applies the migrations in tracker/schema that this database lacks: all of them, or none (one transaction).
 * @param version where to stop; the newest if it is not given
 * @returns how many were applied
 * @throws if one of the applied migrations differs from its file
 */
export async function migrate(url: string, version?: number): Promise<number> {
  const client = new pg.Client({ connectionString: url, application_name: 'cistern-migrate' });
  await client.connect();
  try {
    await client.query('BEGIN');
    await client.query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
    const postgrator = new Postgrator({
      migrationPattern: fileURLToPath(new URL('*.sql', FOLDER)),
      driver: 'pg',
      schemaTable: 'schema_version',
      execQuery: (query) => client.query(query),
    });
    const applied = await postgrator.migrate(version?.toString());
    await client.query('COMMIT');
    return applied.length;
  } finally {
    await client.end();
  }
}
