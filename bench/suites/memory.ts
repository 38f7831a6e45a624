// The highest resident memory of every process while a large file goes up and down. The file is made up on the way.
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { Agent, request } from 'undici';
import type { Cluster } from '../lib/cluster.ts';
import { peakMemory } from '../lib/processes.ts';
import type { Bench, Findings, Row, Suite } from '../lib/suite.ts';

const MiB = 1024 ** 2;

export const memory: Suite = {
  name: 'memory',
  title: 'Memory',
  about:
    'Peak resident memory (VmHWM) of each process since its start, in MiB, while one file of 4 GiB goes up and down ' +
    'through the tracker, then direct. For PostgreSQL its largest process is shown, shared buffers included.',
  run: async (bench) => {
    const both: Findings = { rows: [], skipped: [], figures: { memory: 0 } };
    for (const direct of [false, true]) {
      const { rows, largest } = await bench.withCluster((cluster) => measure(bench, cluster, direct));
      both.rows.push(...rows);
      both.figures.memory = Math.max(both.figures.memory ?? 0, largest);
    }
    return both;
  },
};

async function measure(bench: Bench, cluster: Cluster, direct: boolean) {
  const size = bench.quick ? 64 * MiB : 4096 * MiB;
  const rows: Row[] = [];
  let largest = 0;
  for (const [what, transfer] of [
    ['up', direct ? uploadDirect : upload],
    ['down', direct ? downloadDirect : download],
  ] as const) {
    const how = `${what} ${direct ? 'direct' : 'through the tracker'}`;
    bench.say(`${size / MiB} MiB ${how}`);
    const began = performance.now();
    await transfer(cluster, size);
    const seconds = (performance.now() - began) / 1000;
    const peaks = Object.fromEntries(
      cluster.parts.map(({ name, pids }) => [name, Math.max(...pids().map(peakMemory)) / MiB]),
    );
    rows.push({ what: how, MiB: size / MiB, 'MiB/s': size / MiB / seconds, ...peaks });
    largest = Math.max(largest, peaks.tracker ?? 0, peaks.nodes ?? 0);
  }
  return { rows, largest };
}

const KEY = 'large/file';
const agent = new Agent({ headersTimeout: 120_000, bodyTimeout: 120_000 });

function authorized({ token }: Cluster): Record<string, string> {
  return { authorization: `Bearer ${token}` };
}

function fileUrl({ tracker, domain }: Cluster): string {
  return `${tracker}/v1/domains/${domain}/files/${KEY}`;
}

async function upload(cluster: Cluster, size: number): Promise<void> {
  await put(fileUrl(cluster), authorized(cluster), size);
}

async function put(url: string, headers: Record<string, string>, size: number): Promise<unknown> {
  const answer = await request(url, {
    method: 'PUT',
    headers: { ...headers, 'content-length': String(size) },
    body: Readable.from(pieces(size), { objectMode: false }),
    dispatcher: agent,
  });
  if (answer.statusCode !== 201)
    throw new Error(`PUT was answered ${answer.statusCode}: ${await answer.body.text()}`);
  return answer.body.json();
}

async function uploadDirect(cluster: Cluster, size: number): Promise<void> {
  const uploads = `${cluster.tracker}/v1/domains/${cluster.domain}/uploads`;
  const { fid, url } = (await post(cluster, uploads, { key: KEY, size })) as { fid: number; url: string };
  const receipt = await put(url, {}, size);
  await post(cluster, `${uploads}/${fid}/commit`, { receipt });
}

async function post(cluster: Cluster, url: string, content: object): Promise<unknown> {
  const headers = { ...authorized(cluster), 'content-type': 'application/json' };
  const answer = await request(url, {
    method: 'POST',
    headers,
    body: JSON.stringify(content),
    dispatcher: agent,
  });
  if (answer.statusCode !== 201)
    throw new Error(`POST was answered ${answer.statusCode}: ${await answer.body.text()}`);
  return answer.body.json();
}

async function download(cluster: Cluster, size: number): Promise<void> {
  await get(fileUrl(cluster), authorized(cluster), size);
}

async function downloadDirect(cluster: Cluster, size: number): Promise<void> {
  const url = `${fileUrl(cluster)}?via=redirect`;
  const { statusCode, headers, body } = await request(url, {
    headers: authorized(cluster),
    dispatcher: agent,
  });
  await body.dump();
  if (statusCode !== 307) throw new Error(`GET was answered ${statusCode} instead of a redirect`);
  await get(String(headers.location), {}, size);
}

async function get(url: string, headers: Record<string, string>, size: number): Promise<void> {
  const { statusCode, body } = await request(url, { headers, dispatcher: agent });
  let got = 0;
  for await (const chunk of body) got += (chunk as Buffer).length;
  if (statusCode !== 200 || got !== size) throw new Error(`GET was answered ${statusCode} with ${got} bytes`);
}

/** `size` bytes: one random piece, again and again. */
function* pieces(size: number): Generator<Buffer> {
  const piece = randomBytes(MiB);
  for (let left = size; left > 0; left -= piece.length) yield piece.subarray(0, Math.min(left, piece.length));
}
