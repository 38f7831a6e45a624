import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDatabase, type TestDatabase } from '../../test/support/postgres.ts';
import { migrate, newestSchema } from '../database/migrate.ts';
import { dump } from './dump.ts';
import type { Header } from './format.ts';
import { load } from './load.ts';

let source: TestDatabase;
const others: TestDatabase[] = [];

beforeAll(async () => {
  source = await createDatabase();
  await migrate(source.url);
  await run(
    source.url,
    `
    INSERT INTO domains (name) VALUES ('demo'), ('other');
    INSERT INTO classes (domain_id, name, prefixes) SELECT id, 'default', '{}' FROM domains;
    INSERT INTO hosts (name, url, session) VALUES ('h1', 'http://h1', 's');
    INSERT INTO devices (id, host_id, uuid) VALUES (1, 1, gen_random_uuid());
    INSERT INTO dirs (domain_id, path) SELECT 1, CASE n WHEN 0 THEN '' ELSE 'd' || n || '/' END FROM generate_series(0, 50) n;
    INSERT INTO blobs (fid, state, want, size, sha256, created)
      SELECT n, 'live', 2, n, sha256(n::text::bytea), true FROM generate_series(1, 5000) n;
    INSERT INTO locations (fid, device_id) SELECT fid, 1 FROM blobs;
    INSERT INTO names (dir_id, name, fid, class_id, content_type, meta)
      SELECT 1 + n % 51, E'tab\\there \\\\ "' || n || E'\\nüñí💧', n, 1, 'text/plain', '{"mode": 420}' FROM generate_series(1, 5000) n;
    UPDATE cluster SET next_fid = 5001`,
  );
});
afterAll(async () => {
  for (const database of [source, ...others]) await database.drop();
});

async function run<Row extends object>(url: string, text: string): Promise<Row[]> {
  const client = await connect(url);
  try {
    const result: unknown = await client.query(text);
    return Array.isArray(result) ? [] : (result as { rows: Row[] }).rows;
  } finally {
    await client.end();
  }
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client;
}

async function empty(): Promise<string> {
  const database = await createDatabase();
  others.push(database);
  return database.url;
}

async function taken(meanwhile?: () => Promise<unknown>): Promise<{ header: Header; bytes: Buffer }> {
  const pieces: Buffer[] = [];
  let header: Header | undefined;
  for await (const piece of dump(
    () => connect(source.url),
    (seen) => {
      header = seen;
    },
  )) {
    pieces.push(piece);
    if (pieces.length === 1) await meanwhile?.();
  }
  return { header: header as Header, bytes: Buffer.concat(pieces) };
}

/** In pieces of other sizes than they were written in. */
async function* pieces(bytes: Buffer, size = 1000): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const contents = (url: string) =>
  run(
    url,
    `SELECT (SELECT md5(string_agg(n::text, ',' ORDER BY dir_id, name)) FROM names n) AS names,
    (SELECT md5(string_agg(b::text, ',' ORDER BY fid)) FROM blobs b) AS blobs,
    (SELECT md5(string_agg(l::text, ',' ORDER BY fid)) FROM locations l) AS locations,
    (SELECT c::text FROM cluster c) AS cluster, (SELECT count(*) FROM domains) AS domains`,
  );

describe('a backup', () => {
  it('gives back every row as it was, odd names too, and goes on counting where it was', async () => {
    const { header, bytes } = await taken();
    const url = await empty();
    expect(await load(url, () => connect(url), pieces(bytes))).toEqual(header);
    expect(await contents(url)).toEqual(await contents(source.url));
    const [made] = await run<{ id: number }>(url, `INSERT INTO domains (name) VALUES ('third') RETURNING id`);
    expect(made?.id).toBe(3);
  });

  it('is of one instant: what is written while it is taken is in none of its tables', async () => {
    const before = await contents(source.url);
    const { bytes } = await taken(() =>
      run(
        source.url,
        `INSERT INTO blobs (fid, state, want, size, sha256, created) VALUES (9000, 'live', 2, 0, '', true);
        INSERT INTO names (dir_id, name, fid, class_id, content_type) VALUES (1, 'late', 9000, 1, 'text/plain')`,
      ),
    );
    await run(
      source.url,
      `DELETE FROM names WHERE fid = 9000; DELETE FROM trash; DELETE FROM reap; DELETE FROM blobs WHERE fid = 9000`,
    );
    const url = await empty();
    await load(url, () => connect(url), pieces(bytes));
    expect(await contents(url)).toEqual(before);
  });

  it('is refused when it is cut off or damaged, and leaves the database empty', async () => {
    const { bytes } = await taken();
    const url = await empty();
    const tables = () =>
      run(url, `SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`);
    await expect(load(url, () => connect(url), pieces(bytes.subarray(0, -10)))).rejects.toThrow(
      'it ends early',
    );
    expect(await tables()).toEqual([]);
    const other = Buffer.from(bytes.toString('latin1').replace('"names":5000', '"names":5001'), 'latin1');
    await expect(load(url, () => connect(url), pieces(other))).rejects.toThrow(/names has 5000 of 5001 rows/);
    expect(await tables()).toEqual([]);
    await expect(load(url, () => connect(url), pieces(randomBytes(5000)))).rejects.toThrow(
      /damaged|not a backup/,
    );
    await load(url, () => connect(url), pieces(bytes));
  });

  it('is not loaded over another cluster, nor by a program that is older than its schema', async () => {
    const { bytes } = await taken();
    await expect(load(source.url, () => connect(source.url), pieces(bytes))).rejects.toThrow('not empty');
    const schema = await newestSchema();
    const newer = Buffer.from(
      bytes.toString('latin1').replace(`"schema":${schema}`, '"schema":999'),
      'latin1',
    );
    const url = await empty();
    await expect(load(url, () => connect(url), pieces(newer))).rejects.toThrow(/schema is version 999/);
  });
});
