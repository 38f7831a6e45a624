// Directories above few files and above many: what is asked of a directory must not cost what lies below it.
import { request } from 'undici';
import type { Cluster } from '../lib/cluster.ts';
import { fill, prefixOf } from '../lib/fill.ts';
import type { Bench, Findings, Row, Suite } from '../lib/suite.ts';

const BESIDE = 9;

export const directories: Suite = {
  name: 'directories',
  title: 'Directories',
  about:
    'Median of single requests, one after the other: listing a level of ten entries (nine files and a directory), ' +
    'and renaming and removing that directory, with few files below it and with many.',
  run: async (bench) => {
    const findings: Findings = { rows: [], skipped: [], figures: {} };
    const [few, many] = bench.quick ? [1_000, 5_000] : [1_000, 1_000_000];
    for (const files of [few, many]) {
      findings.rows.push(...(await bench.withCluster((cluster) => measure(bench, cluster, files))));
    }
    const [listFew, , , listMany, rename] = findings.rows.map((row) => row.median as number);
    findings.figures['list-flat'] = (listMany as number) / (listFew as number);
    findings.figures.rename = rename as number;
    return findings;
  },
};

async function measure(bench: Bench, cluster: Cluster, files: number): Promise<Row[]> {
  bench.say(`filling the database with ${files} files`);
  await fill(cluster, files);
  const { target } = cluster;
  const base = `${target.tracker}/v1/domains/${target.domain}`;
  const ask = async (method: 'GET' | 'PUT' | 'POST' | 'DELETE', path: string, body?: object | string) => {
    const headers = {
      authorization: `Bearer ${target.token}`,
      ...(typeof body === 'object' ? { 'content-type': 'application/json' } : {}),
    };
    const text = typeof body === 'object' ? JSON.stringify(body) : (body ?? null);
    const answer = await request(`${base}${path}`, { method, headers, body: text });
    const said = await answer.body.text();
    if (answer.statusCode >= 300) throw new Error(`${method} ${path}: ${answer.statusCode} ${said}`);
    return said;
  };
  for (let i = 0; i < BESIDE; i++) await ask('PUT', `/files/beside-${i}`, 'x');
  const times = bench.quick ? 5 : 41;
  bench.say(`listing, renaming and removing above ${files} files`);
  const list = await median(times, async () => {
    const { entries } = JSON.parse(await ask('GET', '/directories/')) as { entries: unknown[] };
    if (entries.length !== BESIDE + 1) throw new Error(`the level has ${entries.length} entries`);
  });
  let name = prefixOf(files);
  const rename = await median(times, async (i) => {
    const from = name;
    name = `renamed-${i}`;
    await ask('POST', '/move', { from, to: name });
  });
  const remove = await median(1, () => ask('DELETE', `/directories/${name}?recursive=true`));
  const row = (what: string, ms: number): Row => ({ what, 'files below': files, median: ms });
  return [row('list a level of ten', list), row('rename', rename), row('remove with all below', remove)];
}

/** The median time of `work` in milliseconds. */
async function median(times: number, work: (i: number) => Promise<unknown>): Promise<number> {
  const took: number[] = [];
  for (let i = 0; i < times; i++) {
    const before = performance.now();
    await work(i);
    took.push(performance.now() - before);
  }
  took.sort((a, b) => a - b);
  return took[Math.floor(times / 2)] as number;
}
