// What uploads and downloads do when storage nodes die, stall, fill up or lie in the middle of them.
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { useCluster } from './support/cluster.ts';
import { filesOf, openRequest, pathOfFile, problemOf, sql } from './support/files.ts';
import { findReplica, overwrite, type Replica, readReplica } from './support/replicas.ts';
import { waitFor } from './support/wait.ts';

const MiB = 1024 * 1024;
const cluster = useCluster({
  env: { tracker: { CISTERN_MAX_UPLOAD_BYTES: String(10 ** 15) }, node: { CISTERN_CACHE_BYTES: '0' } },
});
const { put, get } = filesOf(cluster);
const bytesOf = async (response: Response) => Buffer.from(await response.arrayBuffer());

/** The nodes with a good replica, and where it is on their disks. */
async function replicasOf(key: string) {
  const rows = await sql<{ fid: number; device_id: number }>(
    cluster(),
    "SELECT l.fid::int, l.device_id FROM locations l JOIN names n USING (fid) WHERE n.name = $1 AND l.state = 'good'",
    [key],
  );
  return await Promise.all(
    rows.map(async ({ fid, device_id }) => {
      const node = cluster().nodes.find(({ devices }) => devices.some(({ id }) => id === device_id));
      const replica = await findReplica(cluster(), fid, device_id);
      if (node === undefined) throw new Error(`there is no device ${device_id}`);
      return { node, replica };
    }),
  );
}

async function restart(...nodes: { restart(): Promise<void> }[]) {
  await Promise.all(nodes.map((node) => node.restart()));
  await cluster().ready();
}

describe('an upload', () => {
  it('survives the death of a node in the middle', async () => {
    const [victim] = cluster().nodes;
    const bytes = randomBytes(16 * MiB);
    const uploads = ['a', 'b', 'c'].map((name) => {
      const key = `killed-${name}`;
      const upload = openRequest(cluster(), 'PUT', pathOfFile(key), { 'content-length': bytes.length });
      upload.request.write(bytes.subarray(0, 8 * MiB));
      return { key, ...upload };
    });
    await waitFor(() => uploads.every(({ request }) => request.socket?.writableLength === 0), {
      what: 'half the bodies',
    });
    await victim?.kill('SIGKILL');
    for (const { request } of uploads) request.end(bytes.subarray(8 * MiB));
    for (const { key, answer } of uploads) {
      expect((await answer).status).toBe(201);
      expect(new Set((await replicasOf(key)).map(({ node }) => node)).size).toBe(2);
      expect((await bytesOf(await get(key))).equals(bytes)).toBe(true);
    }
    if (victim) await restart(victim);
  });

  it('does not wait for ever for a node that stands still', async () => {
    // Not the node that was killed before: what is suspect is not chosen.
    const victim = cluster().nodes[2];
    await victim?.kill('SIGSTOP');
    try {
      const answers = await Promise.all(
        Array.from({ length: 12 }, (_, i) => put(`stalled-${i}`, randomBytes(4_096))),
      );
      expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 201));
    } finally {
      await victim?.kill('SIGCONT');
    }
    await cluster().ready();
  });

  it('is refused while too few hosts are left, and the key keeps what it named', async () => {
    await put('kept', 'old');
    const [, second, third] = cluster().nodes;
    await second?.kill('SIGKILL');
    await third?.kill('SIGKILL');
    for (const size of [10, 2 * MiB]) {
      const refused = await put('kept', randomBytes(size));
      expect(refused.headers.get('retry-after')).not.toBeNull();
      expect(await problemOf(refused)).toEqual({ name: 'too-few-devices', status: 503 });
    }
    if (second && third) await restart(second, third);
    expect(await (await get('kept')).text()).toBe('old');
  });

  it('is refused with 507 where no device has room', async () => {
    const { request, answer } = openRequest(cluster(), 'PUT', pathOfFile('full'), {
      'content-length': 10 ** 14,
    });
    request.flushHeaders();
    const { status, body } = await answer;
    request.destroy();
    expect([status, JSON.parse(body.toString()).type]).toEqual([
      507,
      'urn:cistern:problem:insufficient-storage',
    ]);
    const opened = await cluster().request('POST', '/v1/domains/demo/uploads', {
      body: { key: 'full', size: 10 ** 14 },
    });
    expect(await problemOf(opened)).toEqual({ name: 'insufficient-storage', status: 507 });
  });
});

describe('a download', () => {
  it('goes on from another replica at the byte where a node dies', async () => {
    const bytes = randomBytes(48 * MiB);
    await put('large', bytes);
    const replicas = await replicasOf('large');
    // Each download is served by one of two nodes at random: that none of twelve meets the victim is unlikely.
    const downloads = await Promise.all(
      Array.from({ length: 12 }, async (_, i) => {
        const reader = (
          await get('large', i < 6 ? {} : { headers: { range: 'bytes=5-' } })
        ).body?.getReader();
        return { reader, from: i < 6 ? 0 : 5, chunks: [(await reader?.read())?.value as Uint8Array] };
      }),
    );
    const [victim] = replicas;
    await victim?.node.kill('SIGKILL');
    for (const { reader, from, chunks } of downloads) {
      for (let next = await reader?.read(); next && !next.done; next = await reader?.read())
        chunks.push(next.value);
      expect(Buffer.concat(chunks).equals(bytes.subarray(from))).toBe(true);
    }
    const log = cluster().logs();
    expect(log).toContain('download: replica failed');
    if (victim) await restart(victim.node);
  }, 60_000);

  it.each([
    ['small', 100_000],
    ['large', 4 * MiB],
  ])(
    'never passes corrupt bytes for good ones (%s)',
    async (name, size) => {
      const bytes = randomBytes(size);
      const key = `corrupt-${name}`;
      await put(key, bytes);
      const replicas = await replicasOf(key);
      const damage = (replica?: Replica) => overwrite(replica as Replica, 'damaged', Math.floor(size / 2));
      damage(replicas[0]?.replica);
      for (let i = 0; i < 10; i++) {
        // Of a large file, the bytes before the damage was noticed have been sent: then the connection is cut.
        const body = await get(key)
          .then(bytesOf)
          .catch(() => undefined);
        if (name === 'small') expect(body?.equals(bytes)).toBe(true);
        else if (body !== undefined) expect(body.equals(bytes)).toBe(true);
      }
      // It is reported, and repaired from the other one.
      const whole = await waitFor(
        async () => {
          const now = await replicasOf(key);
          const right = now.filter(({ replica }) => replica && readReplica(replica).equals(bytes));
          return now.length === 2 && right.length === 2 && now;
        },
        { what: 'the corrupt replica to be replaced', timeout: 30_000 },
      );
      for (const { replica } of whole) damage(replica);
      // Now there is no good one left. A small file is refused; the connection of a large one is cut before its end.
      if (name === 'small') {
        expect(await problemOf(await get(key))).toEqual({ name: 'no-good-replica', status: 503 });
      } else await expect(get(key).then(bytesOf)).rejects.toThrow();
    },
    60_000,
  );

  it('says so when no replica can be reached', async () => {
    await put('unreachable', 'x');
    const replicas = await replicasOf('unreachable');
    for (const { node } of replicas) await node.kill('SIGKILL');
    const refused = await get('unreachable');
    expect(refused.headers.get('retry-after')).not.toBeNull();
    expect(await problemOf(refused)).toEqual({ name: 'no-good-replica', status: 503 });
    await restart(...replicas.map(({ node }) => node));
    expect(await (await get('unreachable')).text()).toBe('x');
  });

  it('skips a replica that is missing, with all of its volume', async () => {
    await put('missing', 'still here');
    const [first] = await replicasOf('missing');
    rmSync(first?.replica?.path as string);
    for (let i = 0; i < 6; i++) expect(await (await get('missing')).text()).toBe('still here');
  });
});
