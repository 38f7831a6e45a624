// Uploads and downloads, through the tracker and direct, by size and concurrency.
import type { Cluster } from '../lib/cluster.ts';
import { watchProcessors } from '../lib/processes.ts';
import { runJob } from '../lib/run-job.ts';
import type { Bench, Findings, Row, Suite } from '../lib/suite.ts';
import type { Work } from '../load/jobs.ts';

const KiB = 1024;
const SIZES = [4 * KiB, 64 * KiB, 1024 * KiB, 16 * 1024 * KiB];
/** Most bytes that one measurement uploads. */
const MOST_BYTES = 2 * 1024 ** 3;
const DIRECTORIES = 16;

export const transfers: Suite = {
  name: 'transfers',
  title: 'Uploads and downloads',
  about:
    'Operations a second, each with two fsynced copies where it is an upload. Direct: open, PUT to the node, commit; ' +
    'or a redirect, and a GET from the node. The load generator is a process of ours on the same cores; ' +
    'the last column is the processor time that each part took for an operation.',
  run: (bench) => bench.withCluster((cluster) => measureAll(bench, cluster)),
};

async function measureAll(bench: Bench, cluster: Cluster): Promise<Findings> {
  const rows: Row[] = [];
  const figures: Findings['figures'] = {};
  const sizes = bench.quick ? [4 * KiB, 1024 * KiB] : SIZES;
  const concurrencies = bench.quick ? [8] : [1, 8, 32];
  await warmUp(bench, cluster);
  for (const size of sizes) {
    for (const direct of [false, true]) {
      for (const concurrency of concurrencies) {
        const place = { direct, size, concurrency, prefix: `${size}-${direct}-${concurrency}` };
        const [up, down] = await measure(bench, cluster, place);
        rows.push(up, down);
        if (direct || concurrency !== 32) continue;
        if (size === 4 * KiB) figures['upload-4k'] = up['a second'] as number;
        if (size === 64 * KiB) figures['upload-64k'] = up['a second'] as number;
      }
    }
  }
  return { rows, skipped: [], figures };
}

interface Place {
  direct: boolean;
  size: number;
  concurrency: number;
  prefix: string;
}

async function measure(bench: Bench, cluster: Cluster, place: Place): Promise<[Row, Row]> {
  const { direct, size, prefix } = place;
  const common = { ...cluster.target, prefix, directories: DIRECTORIES, direct, size };
  const uploaded = await one(bench, cluster, place, { kind: 'upload', ...common });
  const count = Math.min(uploaded.total, 1000);
  const downloaded = await one(bench, cluster, place, { kind: 'download', ...common, count });
  return [uploaded.row, downloaded.row];
}

async function one(
  bench: Bench,
  { parts }: Cluster,
  place: Place,
  work: Work & { kind: 'upload' | 'download' },
) {
  const { direct, size, concurrency } = place;
  const { seconds, warmup } = bench;
  const what = `${work.kind} ${direct ? 'direct' : 'through the tracker'}`;
  bench.say(`${what}, ${kib(size)}, concurrency ${concurrency}`);
  const most = work.kind === 'upload' ? Math.ceil(MOST_BYTES / size) : 10_000_000;
  const processors = watchProcessors(parts);
  const outcome = await runJob({ ...work, concurrency, warmup, seconds, most });
  const used = Object.entries(processors()).filter(([name]) => name !== 'supervisor');
  used.push(['generator', outcome.processor]);
  const each = used.map(([name, time]) => `${name} ${Math.round((time / outcome.total) * 1e6)}`);
  const { perSecond, p50, p99, total } = outcome;
  const row: Row = {
    what,
    size: kib(size),
    concurrency,
    'a second': perSecond,
    'MiB/s': (perSecond * size) / 1024 ** 2,
    p50,
    p99,
    'processor µs each': each.join(', '),
  };
  return { total, row };
}

/** Lets everything be compiled before anything counts. */
async function warmUp(bench: Bench, cluster: Cluster): Promise<void> {
  bench.say('warming up');
  const bounds = { concurrency: 8, warmup: 0, seconds: bench.quick ? 0.5 : 5, most: 1_000_000 };
  const common = { ...cluster.target, prefix: 'warm', directories: DIRECTORIES, size: 4 * KiB };
  for (const direct of [false, true]) {
    const prefix = `warm-${direct}`;
    const { total } = await runJob({ ...common, ...bounds, prefix, direct, kind: 'upload' });
    await runJob({ ...common, ...bounds, prefix, direct, kind: 'download', count: total });
  }
}

function kib(size: number): string {
  return size < 1024 * KiB ? `${size / KiB} KiB` : `${size / KiB / KiB} MiB`;
}
