import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Backup, Backups } from '../services/protocol.ts';
import {
  type FakeTracker,
  random,
  scratch,
  sha256,
  sign,
  startFakeTracker,
  startTestNode,
} from './testing.ts';

const dump = random(3 * 1024 * 1024 + 5);
const files = scratch();
let tracker: FakeTracker;
let node: Awaited<ReturnType<typeof startTestNode>>;

beforeAll(async () => {
  tracker = await startFakeTracker();
  node = await startTestNode({ tracker, directory: files.path });
});
afterAll(async () => {
  await node.stop();
  await tracker.stop();
  files.remove();
});

const urlOf = (name: string, ticketFor = name, max?: number) => {
  const ticket = sign({ op: 'backup', dev: 1, name: ticketFor, ...(max === undefined ? {} : { max }) });
  return `${node.url}/devices/1/backups/${name}?ticket=${ticket}`;
};
const put = (name: string, body: Buffer<ArrayBuffer>, headers: Record<string, string> = {}, max = 2 ** 30) =>
  fetch(urlOf(name, name, max), { method: 'PUT', body, headers });
const get = (name: string) => fetch(urlOf(name));
const list = async () => {
  const ticket = sign({ op: 'backup', dev: 1 });
  const answer = await fetch(`${node.url}/devices/1/backups?ticket=${ticket}`);
  return ((await answer.json()) as Backups).backups;
};
const directory = () => join(node.paths[0] as string, 'backups');

it('are stored, listed, given back and removed', async () => {
  expect(await list()).toEqual([]);
  const answer = await put('2026-11-23.dump', dump);
  expect(answer.status).toBe(201);
  const backup = (await answer.json()) as Backup;
  expect(backup).toMatchObject({ name: '2026-11-23.dump', size: dump.length, sha256: sha256(dump) });
  expect((await put('empty', Buffer.alloc(0))).status).toBe(201);
  expect((await list()).map(({ name, size }) => [name, size])).toEqual([
    ['2026-11-23.dump', dump.length],
    ['empty', 0],
  ]);
  expect(Buffer.from(await (await get('2026-11-23.dump')).arrayBuffer()).equals(dump)).toBe(true);
  expect((await get('empty')).status).toBe(200);
  expect((await fetch(urlOf('empty'), { method: 'DELETE' })).status).toBe(204);
  expect((await get('empty')).status).toBe(404);
  expect((await fetch(urlOf('empty'), { method: 'DELETE' })).status).toBe(404);
});

it('are never overwritten: the same bytes again are welcome, others are not', async () => {
  const [first, second] = [random(1000), random(1000)];
  const answers = await Promise.all([put('race', first), put('race', second)]);
  expect(answers.map(({ status }) => status).sort()).toEqual([201, 409]);
  const winner = answers[0]?.status === 201 ? first : second;
  expect((await put('race', winner)).status).toBe(200);
  expect((await list()).find(({ name }) => name === 'race')?.sha256).toBe(sha256(winner));
});

it('are refused when they are too large, cut short, or not what was announced; nothing is left', async () => {
  const before = readdirSync(directory());
  expect((await put('large', random(100), {}, 99)).status).toBe(413);
  const digest = `sha-256=:${Buffer.from(sha256(dump), 'hex').toString('base64')}:`;
  expect((await put('wrong', random(100), { 'repr-digest': digest })).status).toBe(400);
  expect((await put('right', dump, { 'repr-digest': digest })).status).toBe(201);
  expect((await put('..', random(10))).status).toBeGreaterThanOrEqual(400);
  expect(readdirSync(directory())).toHaveLength(before.length + 1);
});

it('need a ticket for that very backup, and one to store it', async () => {
  expect((await fetch(urlOf('right', 'race'))).status).toBe(403);
  expect((await fetch(urlOf('new'), { method: 'PUT', body: 'x' })).status).toBe(403);
  expect((await fetch(`${node.url}/devices/1/backups`)).status).toBe(403);
});

it('never come to their end if they changed on the disk', async () => {
  const name = readdirSync(directory()).find((one) => one.startsWith('right~')) as string;
  const bytes = readFileSync(join(directory(), name));
  bytes[5] = ~(bytes[5] as number);
  writeFileSync(join(directory(), name), bytes);
  await expect(get('right').then((answer) => answer.arrayBuffer())).rejects.toThrow();
});
