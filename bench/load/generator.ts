// The load generator, a process of its own: reads a Job from standard input, keeps `concurrency` operations under way
// (each begins when one has ended), and prints an Outcome. Any failed operation ends it with the reason and code 1.
import { text } from 'node:stream/consumers';
import type { Job, Outcome } from './jobs.ts';
import { prepare } from './workloads.ts';

const job = JSON.parse(await text(process.stdin)) as Job;
try {
  process.stdout.write(`${JSON.stringify(await generate(job))}\n`);
  process.exit(0);
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exit(1);
}

async function generate(job: Job): Promise<Outcome> {
  const workers = await Promise.all(Array.from({ length: job.concurrency }, () => prepare(job)));
  const latencies: number[] = [];
  const used = process.cpuUsage();
  const from = performance.now() + job.warmup * 1000;
  const until = from + job.seconds * 1000;
  // Where operations are slow, it takes longer until there are enough of them to speak of a rate.
  const enough = 2 * job.concurrency;
  const latest = until + 4 * job.seconds * 1000;
  let started = 0;
  let last = from;
  let ended = false;
  await Promise.all(
    workers.map(async (work) => {
      for (let before = performance.now(); !ended && started < job.most && before < latest; ) {
        await work(started++);
        const after = performance.now();
        if (after > from && !ended) {
          latencies.push(after - before);
          last = after;
        }
        ended ||= after > until && latencies.length >= enough;
        before = after;
      }
    }),
  );
  latencies.sort((a, b) => a - b);
  const count = latencies.length;
  if (count === 0) throw new Error('no operation was completed in the time that counts');
  const seconds = (last - from) / 1000;
  const quantile = (q: number) => latencies[Math.ceil(q * count) - 1] ?? Number.NaN;
  const { user, system } = process.cpuUsage(used);
  return {
    count,
    seconds,
    perSecond: count / seconds,
    p50: quantile(0.5),
    p99: quantile(0.99),
    total: started,
    processor: (user + system) / 1e6,
  };
}
