import pg from 'pg';
import { expect, test } from 'vitest';
import { lacksProgram } from './needs.ts';
import { createDatabase, createDatabaseOn, EmbeddedServer } from './postgres.ts';
import { waitFor } from './wait.ts';

async function value(url: string, text: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query({ text, rowMode: 'array' })).rows[0]?.[0];
  } finally {
    await client.end();
  }
}

test('each database is empty and its own, and can be dropped while somebody is connected', async () => {
  const [one, two] = await Promise.all([createDatabase(), createDatabase()]);
  await value(one.url, 'CREATE TABLE mine (x int)');
  expect(await value(two.url, "SELECT to_regclass('mine')")).toBeNull();
  const connected = new pg.Client({ connectionString: one.url });
  const cut = new Promise((resolve) => connected.on('error', resolve));
  await connected.connect();
  await one.drop();
  await cut;
  await expect(value(one.url, 'SELECT 1')).rejects.toThrow('does not exist');
  await two.drop();
});

test('a server of its own can be stopped, killed and started again, and keeps its data', async () => {
  const server = await EmbeddedServer.create();
  try {
    const database = await createDatabaseOn(server.url);
    await value(database.url, 'CREATE TABLE kept AS SELECT 7 AS x');
    await server.stop();
    await expect(value(database.url, 'SELECT 1')).rejects.toThrow('ECONNREFUSED');
    await server.start();
    await server.kill();
    await server.start();
    expect(await value(database.url, 'SELECT x FROM kept')).toBe(7);
  } finally {
    await server.remove();
  }
});

test('waitFor returns what it waited for, and says what it waited for in vain', async () => {
  let calls = 0;
  expect(await waitFor(() => ++calls === 3 && 'third', { what: 'the third call' })).toBe('third');
  const vain = waitFor(() => Promise.reject(new Error('no')), { what: 'the impossible', timeout: 50 });
  await expect(vain).rejects.toThrow('waited 50 ms in vain for the impossible');
});

test('a program that is not there is named', () => {
  expect(lacksProgram('sh')).toBeUndefined();
  expect(lacksProgram('no-such-program')).toContain('no-such-program');
});
