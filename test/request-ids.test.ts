// One id follows a request: what a client calls it stands in the logs of the tracker and of all nodes that it came to.
import { randomBytes } from 'node:crypto';
import { beforeAll, expect, it } from 'vitest';
import { useCluster } from './support/cluster.ts';
import { filesOf } from './support/files.ts';
import { waitFor } from './support/wait.ts';

const all = { CISTERN_LOG_REQUESTS: 'all' };
const cluster = useCluster({ env: { tracker: all, node: all } });
const { put, get } = filesOf(cluster);

interface Line {
  service: string;
  host?: string;
  id?: string;
  method?: string;
  fid?: number;
  batch?: string;
}

function lines(): Line[] {
  return cluster()
    .logs(1024 * 1024)
    .split('\n')
    .flatMap((line) => {
      try {
        return [JSON.parse(line) as Line];
      } catch {
        return [];
      }
    });
}

/** The services whose logs have a line about the request, each once: 'tracker', or the name of a node's host. */
const places = (id: string, more: (line: Line) => boolean = () => true) => [
  ...new Set(
    lines()
      .filter((line) => line.id === id && more(line))
      .map(({ service, host }) => host ?? service),
  ),
];
const reaches = (id: string, count: number) =>
  waitFor(() => places(id).length >= count, { what: `${id} to be in ${count} logs` });

beforeAll(async () => {
  await put('there', 'x');
});

it('of a large file, written and read', async () => {
  const bytes = randomBytes(600_000);
  expect((await put('large', bytes, { 'x-request-id': 'put-large' })).headers.get('x-request-id')).toBe(
    'put-large',
  );
  await reaches('put-large', 3);
  expect(places('put-large')).toHaveLength(3);
  await (await get('large', { headers: { 'x-request-id': 'get-large' } })).arrayBuffer();
  await reaches('get-large', 2);
  expect(places('get-large')).toContain('tracker');
});

it('of small files, also where many share a request to a node', async () => {
  const ids = Array.from({ length: 40 }, (_, i) => `put-small-${i}`);
  await Promise.all(ids.map((id) => put(`small/${id}`, id, { 'x-request-id': id })));
  for (const id of ids) await reaches(id, 3);
  const blobs = lines().filter(({ id, batch }) => id?.startsWith('put-small-') && batch !== undefined);
  // Each is a line of its own, with the blob that it is about, on the two hosts that hold it.
  expect(blobs).toHaveLength(2 * ids.length);
  expect(blobs.some(({ id, batch }) => id !== batch)).toBe(true);
  for (const id of ids) {
    const mine = blobs.filter((line) => line.id === id);
    expect(new Set(mine.map(({ fid }) => fid)).size).toBe(1);
    expect(new Set(mine.map(({ host }) => host)).size).toBe(2);
  }
});
