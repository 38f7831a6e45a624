// A tree of small files brought in, and looked through again when nothing is new, beside rsync of the same tree.
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Cluster } from '../lib/cluster.ts';
import { runCommand } from '../lib/command.ts';
import type { Bench, Findings, Suite } from '../lib/suite.ts';
import { find } from '../lib/tools.ts';

const SIZE = 1024;
const FILES_A_DIRECTORY = 1_000;

export const importing: Suite = {
  name: 'import',
  title: 'Moving in',
  about:
    `\`cistern import\` of a tree of files of ${SIZE} bytes, ${FILES_A_DIRECTORY} in a directory, and the same again when nothing is new, beside ` +
    '`rsync -a` of the same tree to another directory of this machine, each from the start of its process to its end. Cistern stores two ' +
    'copies, each fsynced and with its digest verified; rsync writes one, and fsyncs nothing. Last, `cistern domain clone` of the domain that holds it.',
  run: async (bench) => {
    const files = bench.quick ? 2_000 : 500_000;
    const rsync = find('rsync');
    if (rsync === undefined) return { rows: [], skipped: ['rsync is not installed'], figures: {} };
    const root = mkdtempSync(join(tmpdir(), 'cistern-bench-import-'));
    try {
      return await bench.withCluster((cluster) => measure(bench, cluster, { root, rsync, files }));
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  },
};

async function measure(
  bench: Bench,
  cluster: Cluster,
  { root, rsync, files }: { root: string; rsync: string; files: number },
): Promise<Findings> {
  const tree = join(root, 'tree');
  bench.say(`making ${files} files`);
  makeTree(tree, files);
  const ways: [string, () => Promise<number>][] = [
    ['rsync -a', () => timeRsync(rsync, tree, join(root, 'copy'))],
    ['cistern import', () => timeImport(cluster, tree, files)],
  ];
  const rows: Findings['rows'] = [];
  const seconds: number[] = [];
  for (const pass of ['first', 'again, nothing to do']) {
    for (const [what, work] of ways) {
      bench.say(`${what}, ${pass}`);
      const took = await work();
      seconds.push(took);
      rows.push({
        pass,
        by: what,
        files,
        seconds: Math.round(took * 100) / 100,
        'files a second': files / took,
      });
    }
  }
  bench.say('cistern domain clone');
  const { seconds: cloned } = await runCommand(cluster, 'domain', 'clone', cluster.domain, 'clone');
  rows.push({
    pass: 'clone',
    by: 'cistern domain clone',
    files,
    seconds: Math.round(cloned * 100) / 100,
    'files a second': files / cloned,
  });
  const [rsyncFirst, importFirst, rsyncAgain, importAgain] = seconds as [number, number, number, number];
  const figures = { 'import-first': rsyncFirst / importFirst, 'import-again': rsyncAgain / importAgain };
  return { rows, skipped: [], figures };
}

function makeTree(tree: string, files: number): void {
  for (let i = 0; i < files; i++) {
    const directory = join(tree, String(Math.floor(i / FILES_A_DIRECTORY)));
    if (i % FILES_A_DIRECTORY === 0) mkdirSync(directory, { recursive: true });
    // Different bytes in each, so that nothing can be stored once for several.
    writeFileSync(join(directory, `${i}.jpg`), Buffer.alloc(SIZE, `${i} `));
  }
}

async function timeRsync(rsync: string, from: string, to: string): Promise<number> {
  const before = performance.now();
  await promisify(execFile)(rsync, ['-a', `${from}/`, to]);
  return (performance.now() - before) / 1000;
}

async function timeImport(cluster: Cluster, tree: string, files: number): Promise<number> {
  const { seconds, last } = await runCommand(
    cluster,
    'import',
    '--domain',
    cluster.domain,
    '--prefix',
    'tree',
    tree,
  );
  const { stored, upToDate } = last as { stored: number; upToDate: number };
  if (stored + upToDate !== files) throw new Error(`import ended with ${JSON.stringify(last)}`);
  return seconds;
}
