// Takes a backup: all tables that are worth one, in one snapshot, as a stream. Writers are not held up.
import pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import { DATABASE_IDENTITY } from '../cluster/snapshot.ts';
import { FORMAT, frame, type Header } from './format.ts';

// What is only of the moment: who is there now, and answers to requests that nobody will repeat.
const TRANSIENT = ['schema_version', 'heartbeats', 'trackers', 'idempotency', 'backups'];
const PIECE = 64 * 1024;

const describe = `SELECT c.id AS cluster, ${DATABASE_IDENTITY} AS identity, now() AS at,
    (SELECT max(version) FROM schema_version)::int AS schema
  FROM cluster c WHERE c.only_row`;

// Tables with their columns. A table comes after those that it refers to, so that rows can be loaded as they come;
// none refers to itself.
const listTables = `
  WITH RECURSIVE mine AS (
    SELECT oid, relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
      AND relname <> ALL ($1)
  ), depth (oid, level) AS (
    SELECT oid, 0 FROM mine
    UNION
    SELECT k.conrelid, depth.level + 1 FROM depth JOIN pg_constraint k ON k.confrelid = depth.oid AND k.contype = 'f'
    WHERE k.conrelid <> k.confrelid AND k.conrelid IN (SELECT oid FROM mine)
  )
  SELECT m.relname AS name, max(d.level) AS level, (
      SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
      WHERE a.attrelid = m.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns
  FROM mine m JOIN depth d USING (oid) GROUP BY m.oid, m.relname ORDER BY level, name`;

interface Table {
  name: string;
  columns: string[];
}

/** A connection of its own to the database, which `dump` takes for itself until it ends. */
export type Connect = () => Promise<pg.Client>;

/**
 * The frames of a backup (not zipped yet), all of one instant. `seen` gets the header first.
 * @throws if the database goes away: what was read until then is no backup
 */
export async function* dump(connect: Connect, seen: (header: Header) => void): AsyncGenerator<Buffer> {
  const client = await connect();
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    await client.query('SET LOCAL statement_timeout = 0');
    const header = await describeBackup(client);
    seen(header);
    yield frame(header);
    const rows: Record<string, number> = {};
    const tables = await client.query<Table>(listTables, [TRANSIENT]);
    for (const table of tables.rows) rows[table.name] = yield* dumpTable(client, table);
    yield frame({ end: true, rows });
    await client.query('COMMIT');
  } finally {
    await client.end();
  }
}

async function describeBackup(client: pg.Client): Promise<Header> {
  const { rows } = await client.query<{ cluster: string; identity: string; at: Date; schema: number }>(
    describe,
  );
  const [row] = rows;
  if (row === undefined) throw new Error('the table cluster has no row');
  return { cistern: 'backup', format: FORMAT, ...row, at: row.at.toISOString() };
}

/** All rows of a table; returns how many they were. */
async function* dumpTable(client: pg.Client, { name, columns }: Table): AsyncGenerator<Buffer, number> {
  const list = columns.map((column) => pg.escapeIdentifier(column)).join(', ');
  const source = client.query(copyTo(`COPY ${pg.escapeIdentifier(name)} (${list}) TO STDOUT`));
  let held: Buffer[] = [];
  let bytes = 0;
  const flush = function* () {
    yield Buffer.concat([frame({ table: name, columns, bytes }), ...held]);
    held = [];
    bytes = 0;
  };
  for await (const chunk of source as AsyncIterable<Buffer>) {
    held.push(chunk);
    bytes += chunk.length;
    if (bytes >= PIECE) yield* flush();
  }
  if (bytes > 0) yield* flush();
  return source.rowCount;
}
