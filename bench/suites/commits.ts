// Commits over HTTP beside a single-row INSERT by pgbench, both durable.
import type { Cluster } from '../lib/cluster.ts';
import { runJob } from '../lib/run-job.ts';
import type { Bench, Findings, Suite } from '../lib/suite.ts';
import { find, pgbench } from '../lib/tools.ts';

/** More than can be committed in the time of one measurement. */
const MOST_A_SECOND = 10_000;

export const commits: Suite = {
  name: 'commits',
  title: 'Commits',
  about:
    'POST uploads/{fid}/commit with receipts that the benchmark signed beforehand for two devices, so that no node takes ' +
    'part: each names a new file (name, blob, two locations). Beside it pgbench inserts one row of an id and a text into ' +
    'a table with a primary key, with as many clients, on the same database. Both wait for the disk.',
  run: (bench) => bench.withCluster((cluster) => measureAll(bench, cluster)),
};

async function measureAll(bench: Bench, cluster: Cluster): Promise<Findings> {
  const findings: Findings = { rows: [], skipped: [], figures: {} };
  const program = find('pgbench');
  if (program === undefined) findings.skipped.push('pgbench: it is not installed');
  await cluster.sql('CREATE TABLE bench (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text)');
  await commit({ ...bench, seconds: bench.quick ? 0.5 : 5 }, cluster, 8, 'warm');
  for (const concurrency of bench.quick ? [32] : [1, 8, 32]) {
    bench.say(`commits, concurrency ${concurrency}`);
    const { perSecond, p50, p99 } = await commit(bench, cluster, concurrency, `commit-${concurrency}`);
    findings.rows.push({ what: 'commit', concurrency, 'a second': perSecond, p50, p99 });
    if (program === undefined) continue;
    bench.say(`pgbench, concurrency ${concurrency}`);
    const how = { database: cluster.database, concurrency, seconds: Math.ceil(bench.seconds) };
    const inserted = await pgbench(program, "INSERT INTO bench (text) VALUES ('some text');", how);
    findings.rows.push({ what: 'pgbench INSERT', concurrency, 'a second': inserted, p50: '', p99: '' });
    if (concurrency === 32) findings.figures.commit = perSecond / inserted;
  }
  return findings;
}

async function commit(bench: Bench, cluster: Cluster, concurrency: number, prefix: string) {
  const { warmup, seconds } = bench;
  const most = Math.ceil((warmup + seconds) * MOST_A_SECOND);
  const fids = await cluster.takeFids(most);
  const signers = await cluster.sql<{ host: string; session: string; device: number }>(
    `SELECT h.name AS host, h.session, min(d.id) AS device FROM hosts h JOIN devices d ON d.host_id = h.id
    GROUP BY h.id ORDER BY h.id LIMIT 2`,
  );
  const receipts = { clusterKey: cluster.clusterKey, signers };
  const keys = { prefix, directories: 16 };
  const bounds = { concurrency, warmup, seconds, most };
  return runJob({ kind: 'commit', ...cluster.target, ...keys, fids, receipts, size: 4096, ...bounds });
}
