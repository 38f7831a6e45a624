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
  const inTime: number[] = [];
  const late: number[] = [];
  const used = process.cpuUsage();
  const begin = performance.now();
  const from = begin + job.warmup * 1000;
  const until = from + job.seconds * 1000;
  let started = 0;
  let last = from;
  await Promise.all(
    workers.map(async (work) => {
      for (let before = performance.now(); before < until && started < job.most; ) {
        await work(started++);
        const after = performance.now();
        if (after > from) {
          (after <= until ? inTime : late).push(after - before);
          if (after <= until || inTime.length === 0) last = after;
        }
        before = after;
      }
    }),
  );
  // On a machine that is too slow to complete anything in the time that counts, what was under way counts instead.
  const latencies = (inTime.length > 0 ? inTime : late).sort((a, b) => a - b);
  const count = latencies.length;
  if (count === 0) throw new Error('no operation was completed');
  // What was cut short by `most` is measured up to its last operation.
  const whole = started < job.most && inTime.length > 0;
  const seconds = (whole ? until - from : Math.max(last - from, 1)) / 1000;
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
