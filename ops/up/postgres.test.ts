import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freePort } from './ports.ts';
import { ensureDatabase, type PostgresInstance, startPostgres } from './postgres.ts';

let root: string;
let server: PostgresInstance;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'cistern-postgres-'));
});

afterAll(async () => {
  await server?.stop();
  await rm(root, { recursive: true, force: true });
});

const start = async (port?: number) =>
  startPostgres({
    directory: join(root, 'data'),
    password: 'a/b c',
    port: port ?? (await freePort()),
    logFile: join(root, 'postgres.log'),
  });

async function query(url: string, text: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query({ text, rowMode: 'array' });
    return rows[0]?.[0];
  } finally {
    await client.end();
  }
}

test('keeps its data over a clean stop and a kill -9, and is PostgreSQL 18 on real storage', async () => {
  server = await start();
  const url = await ensureDatabase(server, 'cistern');
  expect(await ensureDatabase(server, 'cistern')).toBe(url);
  expect(await query(url, 'SHOW server_version')).toMatch(/^18\./);
  expect(await query(url, 'SHOW fsync')).toBe('on');
  expect(await query(url, 'SHOW listen_addresses')).toBe('127.0.0.1');
  await query(url, 'CREATE TABLE kept AS SELECT 1 AS value');
  await server.stop();
  expect(await server.exited).toBe('exit code 0');

  const { port } = new URL(url);
  server = await start(Number(port));
  expect(await query(url, 'SELECT value FROM kept')).toBe(1);
  server.kill('SIGKILL');
  await server.exited;

  server = await start(Number(port));
  expect(await query(url, 'SELECT value FROM kept')).toBe(1);
});

test('a server that was left behind on the directory is stopped first', async () => {
  const before = server;
  server = await start();
  expect(await before.exited).toBe('exit code 0');
  expect(server.pid).not.toBe(before.pid);
});

test('a wrong password is refused', async () => {
  const wrong = new URL(server.url);
  wrong.password = 'wrong';
  await expect(query(wrong.href, 'SELECT 1')).rejects.toThrow('password authentication failed');
});

test('a taken port is one line that says so', async () => {
  const port = Number(new URL(server.url).port);
  const directory = join(root, 'other');
  const started = startPostgres({ directory, password: 'x', port, logFile: join(root, 'other.log') });
  await expect(started).rejects.toThrow(/did not start .*could not create any TCP/);
});
