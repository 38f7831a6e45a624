// Databases for tests: a fresh one for each test file, on a PostgreSQL that the whole run shares.
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';

export { EmbeddedServer } from './embedded-postgres.ts';

export interface TestDatabase {
  url: string;
  /** Removes it, cutting off whoever is still connected. */
  drop(): Promise<void>;
}

/** Makes an empty database on the shared server. */
export async function createDatabase(): Promise<TestDatabase> {
  const answer = await fetch(inject('postgresBroker'));
  const text = await answer.text();
  if (!answer.ok) throw new Error(`the tests' PostgreSQL did not start: ${text}`);
  return createDatabaseOn(text);
}

/** Makes an empty database on the server that `adminUrl` names. */
export async function createDatabaseOn(adminUrl: string): Promise<TestDatabase> {
  const name = `test_${randomBytes(8).toString('hex')}`;
  await query(adminUrl, `CREATE DATABASE ${name}`);
  const url = new URL(adminUrl);
  url.pathname = `/${name}`;
  return { url: url.href, drop: () => query(adminUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`) };
}

/** Drops the database that `url` names, cutting off whoever is connected, and makes it anew without anything in it. */
export async function emptyDatabase(url: string): Promise<void> {
  const admin = new URL(url);
  const name = admin.pathname.slice(1);
  admin.pathname = '/postgres';
  await query(admin.href, `DROP DATABASE ${name} WITH (FORCE)`);
  await query(admin.href, `CREATE DATABASE ${name}`);
}

async function query(url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}
