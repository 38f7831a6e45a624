// Loads a backup into an empty database: all of it, or nothing.
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { migrate, newestSchema } from '../database/migrate.ts';
import type { Connect } from './dump.ts';
import { BadBackup, type EndFrame, FrameReader, type Header, type TableFrame } from './format.ts';

/** The database holds something already; nothing was changed. */
export class NotEmpty extends Error {}

const countTables = `SELECT count(*)::int AS tables FROM pg_class
  WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace`;

const listTables = `SELECT string_agg(quote_ident(relname), ', ') AS list FROM pg_class
  WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND relname <> 'schema_version'`;

const listIdentities = `SELECT c.relname AS table, a.attname AS column FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
  WHERE a.attidentity <> '' AND c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'`;

/**
 * Makes the tables as the backup has them, fills them, and brings them up to this version's schema.
 * @param url of an empty database
 * @param pieces the backup's frames, unzipped
 * @throws NotEmpty, BadBackup; the database is then as empty as before
 */
export async function load(url: string, connect: Connect, pieces: AsyncIterable<Buffer>): Promise<Header> {
  const reader = new FrameReader(pieces);
  const header = await reader.header();
  const newest = await newestSchema();
  if (header.schema > newest) {
    throw new BadBackup(
      `its schema is version ${header.schema}, this program knows ${newest}: use the version that made it`,
    );
  }
  const client = await connect();
  try {
    const { rows } = await client.query<{ tables: number }>(countTables);
    if (rows[0]?.tables !== 0) throw new NotEmpty('the database is not empty: restore into a new one');
    await migrate(url, header.schema);
    await fill(client, reader).catch(async (error) => {
      await clear(client).catch(() => undefined);
      throw error;
    });
  } finally {
    await client.end();
  }
  await migrate(url);
  return header;
}

/** Takes away what was made, so that the next attempt finds an empty database again. */
async function clear(client: pg.Client): Promise<void> {
  await client.query('ROLLBACK');
  const { rows } = await client.query<{ schema: string }>('SELECT current_schema() AS schema');
  const schema = pg.escapeIdentifier(rows[0]?.schema ?? 'public');
  await client.query(`DROP SCHEMA ${schema} CASCADE; CREATE SCHEMA ${schema}`);
}

async function fill(client: pg.Client, reader: FrameReader): Promise<void> {
  await client.query('BEGIN');
  // Migrations make some rows of their own.
  const { rows } = await client.query<{ list: string }>(listTables);
  await client.query(`TRUNCATE ${rows[0]?.list}`);
  const loaded: Record<string, number> = {};
  let frame = await reader.next();
  while (!('end' in frame)) frame = await loadTable(client, reader, frame, loaded);
  for (const [table, rows] of Object.entries(frame.rows)) {
    if ((loaded[table] ?? 0) !== rows)
      throw new BadBackup(`it is damaged: ${table} has ${loaded[table] ?? 0} of ${rows} rows`);
  }
  const identities = await client.query<{ table: string; column: string }>(listIdentities);
  for (const { table, column } of identities.rows) {
    const name = pg.escapeIdentifier(table);
    await client.query(
      `SELECT setval(pg_get_serial_sequence($1, $2), (SELECT coalesce(max(${pg.escapeIdentifier(column)}), 0) + 1
      FROM ${name}), false)`,
      [table, column],
    );
  }
  await client.query('COMMIT');
}

/** Loads consecutive frames of one table; answers with the first frame that is not of it. */
async function loadTable(
  client: pg.Client,
  reader: FrameReader,
  first: TableFrame,
  loaded: Record<string, number>,
): Promise<TableFrame | EndFrame> {
  const { table, columns } = first;
  const list = columns.map((column) => pg.escapeIdentifier(column)).join(', ');
  const target = client.query(copyFrom(`COPY ${pg.escapeIdentifier(table)} (${list}) FROM STDIN`));
  let frame: TableFrame | EndFrame = first;
  await pipeline(
    Readable.from(
      (async function* () {
        while (!('end' in frame) && frame.table === table) {
          yield* reader.bytes(frame.bytes);
          frame = await reader.next();
        }
      })(),
      { objectMode: false },
    ),
    target,
  );
  loaded[table] = target.rowCount;
  return frame;
}
