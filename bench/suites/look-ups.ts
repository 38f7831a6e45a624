// Look-ups over HTTP beside the same SELECT by pgbench, with few files and with many.
import { PLANNER } from '../../tracker/database/sessions.ts';
import { FOUND_COLUMNS } from '../../tracker/namespace/find.ts';
import type { Cluster } from '../lib/cluster.ts';
import { FILES_A_DIRECTORY, fill, prefixOf } from '../lib/fill.ts';
import { runJob } from '../lib/run-job.ts';
import type { Bench, Findings, Row, Suite } from '../lib/suite.ts';
import { find, pgbench } from '../lib/tools.ts';

export const lookUps: Suite = {
  name: 'look-ups',
  title: 'Look-ups',
  about:
    "One key in a request: HEAD of the file, and POST stat. Beside them pgbench with the tracker's SELECT for one key, " +
    'prepared, as many clients, on the same database. Keys are taken at random; a directory holds 1,000 of them.',
  run: (bench) => bench.withCluster((cluster) => measureAll(bench, cluster)),
};

async function measureAll(bench: Bench, cluster: Cluster): Promise<Findings> {
  const findings: Findings = { rows: [], skipped: [], figures: {} };
  if (find('pgbench') === undefined) findings.skipped.push('pgbench: it is not installed');
  const [few, many] = bench.quick ? [1_000, 5_000] : [10_000, 1_000_000];
  const slowest: number[] = [];
  for (const files of [few, many]) {
    bench.say(`filling the database with ${files} files`);
    await fill(cluster, files);
    // Everything is compiled, and cached, before anything counts.
    await ask({ ...bench, seconds: bench.quick ? 0.5 : 8 }, cluster, {
      method: 'HEAD',
      files,
      concurrency: 32,
    });
    for (const concurrency of bench.quick ? [32] : [1, 8, 32]) {
      const [head, stat, select] = await measure(bench, cluster, files, concurrency);
      findings.rows.push(head, stat, ...(select === undefined ? [] : [select]));
      if (concurrency !== 32) continue;
      slowest.push(head.p99 as number);
      if (files === many && select !== undefined) {
        findings.figures['look-up'] = (head['a second'] as number) / (select['a second'] as number);
      }
    }
  }
  const [before, after] = slowest as [number, number];
  findings.figures['look-up-p99'] = after / before;
  return findings;
}

async function measure(
  bench: Bench,
  cluster: Cluster,
  files: number,
  concurrency: number,
): Promise<[Row, Row, Row?]> {
  const row = (what: string, perSecond: number, p50: number | string, p99: number | string): Row => {
    return { what, files, concurrency, 'a second': perSecond, p50, p99 };
  };
  const overHttp = async (method: 'HEAD' | 'stat') => {
    bench.say(`${method}, ${files} files, concurrency ${concurrency}`);
    const { perSecond, p50, p99 } = await ask(bench, cluster, { method, files, concurrency });
    return row(method, perSecond, p50, p99);
  };
  const ours: [Row, Row] = [await overHttp('HEAD'), await overHttp('stat')];
  const program = find('pgbench');
  if (program === undefined) return ours;
  bench.say(`pgbench, ${files} files, concurrency ${concurrency}`);
  const seconds = Math.ceil(bench.seconds);
  const how = { database: cluster.database, concurrency, seconds, options: PLANNER };
  const perSecond = await pgbench(program, await selectScript(cluster, files), how);
  return [...ours, row('pgbench SELECT', perSecond, '', '')];
}

function ask(
  { warmup, seconds }: Bench,
  { target }: Cluster,
  { files, ...how }: { method: 'HEAD' | 'stat'; files: number; concurrency: number },
) {
  const keys = { prefix: prefixOf(files), directories: files / FILES_A_DIRECTORY, count: files };
  return runJob({ kind: 'look-up', ...target, ...keys, ...how, warmup, seconds, most: 10_000_000 });
}

/** What the tracker asks for one key, with a key that pgbench can make up. */
async function selectScript({ sql, domain }: Cluster, files: number): Promise<string> {
  const [row] = await sql<{ id: number }>('SELECT id FROM domains WHERE name = $1', [domain]);
  return `\\set i random(0, ${files - 1})
SELECT ${FOUND_COLUMNS}, ARRAY(SELECT l.device_id FROM locations l WHERE l.fid = n.fid AND l.state = 'good') AS devices
FROM dirs d JOIN names n ON n.dir_id = d.id LEFT JOIN blobs b ON b.fid = n.fid
WHERE d.domain_id = ${row?.id} AND d.path = '${prefixOf(files)}/' || (:i::int % ${files / FILES_A_DIRECTORY}) || '/'
  AND n.name = :i::int::text;\n`;
}
