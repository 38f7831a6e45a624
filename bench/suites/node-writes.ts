// Durable 4 KiB PUTs to one device of one storage node, beside what the disk does without HTTP when each is a file.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Cluster } from '../lib/cluster.ts';
import { runJob } from '../lib/run-job.ts';
import type { Bench, Findings, Suite } from '../lib/suite.ts';

const SIZE = 4096;
/** More than a disk can do in the time of one measurement. */
const MOST_A_SECOND = 15_000;

export const nodeWrites: Suite = {
  name: 'node-writes',
  title: 'Durable PUTs of 4 KiB to a storage node',
  about:
    'One device, tickets signed beforehand; the node appends the blobs to volumes. Beside it a program of ours on the same disk, with a file for each: ' +
    'each worker is a thread that writes a file, fdatasync, renames it, fsync of its directory.',
  run: (bench) => bench.withCluster((cluster) => measureAll(bench, cluster)),
};

async function measureAll(bench: Bench, cluster: Cluster): Promise<Findings> {
  const findings: Findings = { rows: [], skipped: [], figures: {} };
  const { warmup, seconds } = bench;
  const [node] = cluster.nodes as [Cluster['nodes'][number]];
  const [device] = node.devices as [{ id: number; path: string }];
  const most = Math.ceil((warmup + seconds) * MOST_A_SECOND);
  for (const concurrency of bench.quick ? [8] : [1, 8, 32]) {
    const bounds = { concurrency, warmup, seconds, most };
    bench.say(`PUTs, concurrency ${concurrency}`);
    const fids = await cluster.takeFids(most);
    const work = { kind: 'put-blob' as const, node: node.url, device: device.id, size: SIZE, fids, step: 1 };
    const ours = await runJob({ ...work, clusterKey: cluster.clusterKey, ...bounds });
    bench.say(`the disk alone, concurrency ${concurrency}`);
    // Beside the device, which lists what is in its own directory.
    const directory = join(device.path, '..', `disk-${concurrency}`);
    mkdirSync(directory);
    const disk = await runJob({ kind: 'disk', directory, size: SIZE, ...bounds });
    for (const [what, { perSecond, p50, p99 }] of Object.entries({
      'storage node': ours,
      'the disk alone': disk,
    })) {
      findings.rows.push({ what, concurrency, 'a second': perSecond, p50, p99 });
    }
  }
  return findings;
}
