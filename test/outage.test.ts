// What is taken away from a running cluster, and given back: the database, and trackers and nodes that are stopped or
// die in the middle of something.
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Cluster, type NodePart, startCluster, useCluster } from './support/cluster.ts';
import { filesOf, openRequest, pathOfFile, problemOf } from './support/files.ts';
import { createDatabaseOn, EmbeddedServer } from './support/postgres.ts';
import { waitFor } from './support/wait.ts';

const MiB = 1024 * 1024;

describe('the database', () => {
  let server: EmbeddedServer;
  let cluster: Cluster;
  beforeAll(async () => {
    server = await EmbeddedServer.create({ max_connections: '100' });
    const { url } = await createDatabaseOn(server.url);
    cluster = await startCluster({ trackers: 2, nodes: 3, devices: 1, database: url });
  });
  afterEach(({ task }) => {
    if (task.result?.state === 'fail') process.stderr.write(`${cluster.logs()}\n`);
  });
  afterAll(async () => {
    await cluster?.stop();
    await server?.remove();
  });

  test.each(['stopped', 'killed'])(
    'is %s and started under load: 503 meanwhile, and nothing is lost',
    async (how) => {
      const { put, get } = filesOf(() => cluster);
      const pids = cluster.trackers.map(({ pid }) => pid);
      const files = new Map<string, { bytes: string; acknowledged: boolean }>();
      const refused: Response[] = [];
      let away = false;
      let acknowledgedAfter = 0;
      let ending = false;
      const write = async (writer: number) => {
        for (let i = 0; !ending; i++) {
          const key = `${how}/${writer}-${i}`;
          const bytes = `${key} ${'x'.repeat(i % 2_000)}`;
          const began = away;
          const request = { body: bytes, tracker: (writer + i) % 2 };
          const answer = await cluster.request('PUT', pathOfFile(key), request);
          files.set(key, { bytes, acknowledged: answer.ok });
          if (answer.ok && !began && refused.length > 0) acknowledgedAfter++;
          if (answer.ok) await answer.arrayBuffer();
          else refused.push(answer);
          if (!answer.ok) await sleep(50);
        }
      };
      const writers = Array.from({ length: 6 }, (_, i) => write(i));
      await waitFor(() => files.size > 50, { what: 'the first files' });
      await (how === 'stopped' ? server.stop() : server.kill());
      away = true;
      await waitFor(() => refused.length > 10, { what: 'uploads to be refused', timeout: 20_000 });
      const reading = await get([...files.keys()][0] as string);
      expect(await problemOf(reading)).toEqual({ name: 'database-unavailable', status: 503 });
      expect((await fetch(`${cluster.trackers[0]?.url}/readyz`)).status).toBe(503);
      expect((await fetch(`${cluster.trackers[0]?.url}/healthz`)).status).toBe(200);
      await server.start();
      away = false;
      await waitFor(() => acknowledgedAfter > 50, { what: 'uploads to be taken again', timeout: 20_000 });
      ending = true;
      await Promise.all(writers);

      for (const answer of refused) {
        expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
        // While all hosts' heartbeats are missing, there may also seem to be too few of them.
        expect(['database-unavailable', 'too-few-devices']).toContain((await problemOf(answer)).name);
      }
      expect(cluster.trackers.map(({ pid }) => pid)).toEqual(pids);
      for (const [key, { bytes, acknowledged }] of files) {
        for (const tracker of acknowledged ? [0, 1] : [0]) {
          const answer = await get(key, { tracker });
          // What was refused may be there all the same, if its commit was under way: but whole.
          if (acknowledged || answer.status !== 404) expect([key, await answer.text()]).toEqual([key, bytes]);
        }
      }
      const late = await put(`${how}/late`, 'as before');
      expect(late.status).toBe(201);
    },
    60_000,
  );
});

describe('a stop that was asked for', () => {
  const cluster = useCluster({ trackers: 2, devices: 1 });
  const { put, get } = filesOf(cluster);

  test('a tracker takes no more requests, finishes those that it has, and ends with 0', async () => {
    const [tracker] = cluster().trackers;
    const large = randomBytes(24 * MiB);
    await put('large', large);
    const upload = openRequest(cluster(), 'PUT', pathOfFile('slow'), { 'content-length': 4 * MiB });
    upload.request.write(large.subarray(0, 2 * MiB));
    const reader = (await get('large')).body?.getReader();
    const chunks = [(await reader?.read())?.value as Uint8Array];
    const stopped = tracker?.stop();
    await waitFor(
      () =>
        fetch(`${tracker?.url}/healthz`).then(
          () => false,
          () => true,
        ),
      {
        what: 'the tracker to take no connections any more',
      },
    );
    expect((await get('slow', { tracker: 1 })).status).toBe(404);
    upload.request.end(large.subarray(2 * MiB, 4 * MiB));
    expect((await upload.answer).status).toBe(201);
    for (let next = await reader?.read(); next && !next.done; next = await reader?.read())
      chunks.push(next.value);
    expect(Buffer.concat(chunks).equals(large)).toBe(true);
    expect(await stopped).toBe('exit code 0');
    expect(Buffer.from(await (await get('slow', { tracker: 1 })).arrayBuffer())).toEqual(
      large.subarray(0, 4 * MiB),
    );
    await tracker?.start();
    await cluster().ready();
  }, 60_000);

  test('a node finishes the upload that it was sent, and ends with 0', async () => {
    const bytes = randomBytes(4 * MiB);
    const opened = await cluster().request('POST', '/v1/domains/demo/uploads', {
      body: { key: 'direct', size: bytes.length },
    });
    const { fid, url } = (await opened.json()) as { fid: number; url: string };
    const node = cluster().nodes.find((one) => url.startsWith(one.url)) as NodePart;
    let stopped: Promise<string | undefined> | undefined;
    async function* slowly() {
      yield bytes.subarray(0, MiB);
      stopped = node.stop();
      await waitFor(
        () =>
          fetch(`${node.url}/healthz`).then(
            () => false,
            () => true,
          ),
        {
          what: 'the node to take no connections any more',
        },
      );
      yield bytes.subarray(MiB);
    }
    const sent = await fetch(url, {
      method: 'PUT',
      body: slowly() as unknown as NonNullable<RequestInit['body']>,
      headers: { 'content-length': String(bytes.length) },
      duplex: 'half',
    });
    expect(sent.status).toBe(201);
    const receipt = (await sent.json()) as object;
    expect(await stopped).toBe('exit code 0');
    const committed = await cluster().request('POST', `/v1/domains/demo/uploads/${fid}/commit`, {
      body: { receipt },
    });
    expect(committed.status).toBe(201);
    expect(Buffer.from(await (await get('direct')).arrayBuffer()).equals(bytes)).toBe(true);
    await node.start();
    await cluster().ready();
  }, 60_000);

  test('a node in the middle of a chain that dies leaves an upload that can be committed, or nothing', async () => {
    const bytes = randomBytes(8 * MiB);
    for (const victimIs of ['first', 'second']) {
      const opened = await cluster().request('POST', '/v1/domains/demo/uploads', {
        body: { key: `chain-${victimIs}`, size: bytes.length },
      });
      const { fid, url } = (await opened.json()) as { fid: number; url: string };
      const first = cluster().nodes.find((one) => url.startsWith(one.url)) as NodePart;
      const second = cluster().nodes.find((one) => decodedTicket(url).next?.startsWith(one.url)) as NodePart;
      const victim = victimIs === 'first' ? first : second;
      async function* slowly() {
        yield bytes.subarray(0, 4 * MiB);
        await victim.kill('SIGKILL');
        yield bytes.subarray(4 * MiB);
      }
      const sent = await fetch(url, {
        method: 'PUT',
        body: slowly() as unknown as NonNullable<RequestInit['body']>,
        headers: { 'content-length': String(bytes.length) },
        duplex: 'half',
      }).catch(() => undefined);
      if (victimIs === 'first') expect(sent).toBeUndefined();
      else {
        const receipt = (await sent?.json()) as { parts: unknown[] };
        expect(receipt.parts).toHaveLength(1);
        const commit = `/v1/domains/demo/uploads/${fid}/commit`;
        expect((await cluster().request('POST', commit, { body: { receipt } })).status).toBe(201);
        await first.kill('SIGKILL');
        // The copy that the tracker had made is the only one that can be read.
        expect(Buffer.from(await (await get('chain-second')).arrayBuffer()).equals(bytes)).toBe(true);
        await first.start();
      }
      await victim.start();
      await cluster().ready();
    }
    expect((await get('chain-first')).status).toBe(404);
  }, 60_000);
});

function decodedTicket(url: string): { next?: string } {
  const [payload = ''] = new URL(url).searchParams.get('ticket')?.split('.') ?? [];
  return JSON.parse(Buffer.from(payload, 'base64url').toString());
}
