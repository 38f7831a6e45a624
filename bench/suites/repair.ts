// A lost device is rebuilt, beside rsync, which copies the same bytes as a file each.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { blobDirectory, blobPath } from '../../storage-node/layout.ts';
import type { Cluster } from '../lib/cluster.ts';
import { runCommand } from '../lib/command.ts';
import { fill } from '../lib/fill.ts';
import { withRsync } from '../lib/rsync.ts';
import { runJob } from '../lib/run-job.ts';
import type { Bench, Findings, Suite } from '../lib/suite.ts';
import type { TargetName } from '../lib/targets.ts';
import { find } from '../lib/tools.ts';
import { bytesOf } from '../load/bytes.ts';

const KiB = 1024;
type Device = Cluster['nodes'][number]['devices'][number];

interface Case {
  name: string;
  size: number;
  files: number;
  target: TargetName;
}
const CASES: Case[] = [
  { name: '64 KiB', size: 64 * KiB, files: 20_000, target: 'repair-64k' },
  { name: '1 MiB', size: 1024 * KiB, files: 2_000, target: 'repair-1m' },
];
const QUICK_SHARE = 0.05;
const WRITERS = 8;
/** Longer than any filling takes: it ends with its last file. */
const FILLING_SECONDS = 3_600;

export const repair: Suite = {
  name: 'repair',
  title: 'Repair of a lost device',
  about:
    'Files with two copies each, one of them on a device of the first host, the other on the devices of the other hosts in turn. ' +
    'rsync copies the same bytes into an empty directory, from a daemon on 127.0.0.1: with `--fsync`, so that it waits for the disk as ' +
    'Cistern does, and without, against which the targets are. It reads them as files, which were written for it beforehand, a tree for each device of the ' +
    'other hosts, since small blobs are in volumes, and rsync would copy these as a few large files. Then the first device is declared dead, and `cistern repair` is run: the time ' +
    'is from the declaration to exit code 0, when every file has two copies again, verified and fsynced. ' +
    'All that is read was just written, and is in memory. The copies on the lost device are rows only, since nobody reads them.',
  run: async (bench) => {
    const findings: Findings = { rows: [], skipped: [], figures: {} };
    if (find('rsync') === undefined) findings.skipped.push('rsync is not installed');
    for (const one of CASES) {
      const files = bench.quick ? one.files * QUICK_SHARE : one.files;
      await bench.withCluster((cluster) => measure(bench, cluster, { ...one, files }, findings));
    }
    return findings;
  },
};

async function measure(bench: Bench, cluster: Cluster, { name, size, files, target }: Case, into: Findings) {
  const { lost, others, first } = await store(bench, cluster, size, files);
  const row = (what: string, seconds: number) => {
    into.rows.push({ what, size: name, files, seconds, 'MiB a second': (files * size) / KiB ** 2 / seconds });
    return seconds;
  };
  const program = find('rsync');
  let theirs: number | undefined;
  if (program !== undefined) {
    bench.say('writing them as files for rsync');
    const root = mkdtempSync(join(dirname(lost.path), 'files-'));
    const trees = others.map(({ id }, i) =>
      plant(join(root, String(id)), { first: first + i, step: others.length, end: first + files, size }),
    );
    await withRsync(program, root, async (copy) => {
      const ways: [string, string[]][] = [
        ['rsync -a --fsync', ['-a', '--fsync']],
        ['rsync -a', ['-a']],
      ];
      for (const [what, options] of ways) {
        bench.say(`${what}, ${files} files of ${name}`);
        flush();
        const directory = mkdtempSync(join(dirname(lost.path), 'rsync-'));
        theirs = row(what, await copy(trees, directory, ...options));
      }
    });
  }
  bench.say(`cistern repair, ${files} files of ${name}`);
  flush();
  const before = performance.now();
  await runCommand(cluster, 'device', 'dead', String(lost.id), '--yes');
  const { last } = await runCommand(cluster, 'repair');
  const ours = row('cistern repair', (performance.now() - before) / 1000);
  if (last.healthy !== true) throw new Error(`repair ended with ${JSON.stringify(last)}`);
  if (theirs !== undefined) into.figures[target] = theirs / ours;
}

/** Puts the files' second copies onto the devices of all hosts but the first, which is to lose its first device. */
async function store(bench: Bench, cluster: Cluster, size: number, files: number) {
  const { nodes, clusterKey } = cluster;
  const lost = nodes[0]?.devices[0] as Device;
  const others = nodes.slice(1).flatMap(({ url, devices }) => devices.map((device) => ({ ...device, url })));
  const first = await cluster.takeFids(files);
  bench.say(`storing ${files} files of ${size} bytes`);
  const bounds = { concurrency: WRITERS, warmup: 0, seconds: FILLING_SECONDS };
  for (const [i, { id, url }] of others.entries()) {
    const which = { fids: first + i, step: others.length, most: Math.ceil((files - i) / others.length) };
    await runJob({ kind: 'put-blob', node: url, device: id, size, clusterKey, ...which, ...bounds });
  }
  await fill(cluster, files, { first, devices: [[lost.id], others.map(({ id }) => id)], size });
  return { lost, others, first };
}

/** Writes every `step`th blob's bytes as files, in the directories that files of blobs have; returns the tree's name. */
function plant(
  tree: string,
  { first, step, end, size }: Record<'first' | 'step' | 'end' | 'size', number>,
): string {
  const bytes = bytesOf(size);
  for (let fid = first; fid < end; fid += step) {
    mkdirSync(join(tree, blobDirectory(fid)), { recursive: true });
    writeFileSync(join(tree, blobPath(fid)), bytes);
  }
  return basename(tree);
}

/** What was written before must not be what the next one waits for. */
function flush(): void {
  execFileSync('sync');
}
