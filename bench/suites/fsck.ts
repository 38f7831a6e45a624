// fsck of many files, on disks that hold them.
import { linkSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { blobDirectory, blobPath, FIDS_A_DIRECTORY } from '../../storage-node/layout.ts';
import type { Cluster } from '../lib/cluster.ts';
import { runCommand } from '../lib/command.ts';
import { fill } from '../lib/fill.ts';
import type { Bench, Findings, Suite } from '../lib/suite.ts';
import { bytesOf } from '../load/bytes.ts';

const SIZE = 4096;

export const fsck: Suite = {
  name: 'fsck',
  title: 'fsck',
  about:
    '`cistern fsck` (names, copies and disks are compared, the bytes are not read) of files of 4 KiB with two copies each on ' +
    'devices of two hosts, from its start to exit code 0. Every copy is a file at its place on the device, listed and looked at one by one, as with ' +
    '`CISTERN_VOLUME_BLOB_BYTES=0`; of blobs in volumes, one small file tells about a whole directory. ' +
    `The ${FIDS_A_DIRECTORY} of a directory are hard links of one, which is quicker to fill and has fewer inodes to read than ` +
    'so many separate files: on a disk whose inodes are not in memory, the first run waits for them as well.',
  run: async (bench) => {
    const files = bench.quick ? 5_000 : 1_000_000;
    return await bench.withCluster((cluster) => measure(bench, cluster, files));
  },
};

async function measure(bench: Bench, cluster: Cluster, files: number): Promise<Findings> {
  const devices = cluster.nodes
    .slice(0, 2)
    .map(({ devices: [device] }) => device as { id: number; path: string });
  const first = await cluster.takeFids(files);
  bench.say(`filling two devices and the database with ${files} files`);
  for (const { path } of devices) place(path, first, files);
  const [one, other] = devices.map(({ id }) => [id]) as [number[], number[]];
  await fill(cluster, files, { first, devices: [one, other], size: SIZE });
  bench.say(`fsck of ${files} files`);
  const { seconds, last } = await runCommand(cluster, 'fsck');
  const { replicas } = last.compared as { replicas: number };
  if (last.clean !== true || replicas < 2 * files) throw new Error(`fsck ended with ${JSON.stringify(last)}`);
  const row = { files, copies: replicas, seconds, 'copies a second': replicas / seconds };
  return { rows: [row], skipped: [], figures: { fsck: seconds } };
}

/** Makes the files on a device, as its node would have written them, did it put small blobs into no volumes. */
function place(device: string, first: number, files: number): void {
  const bytes = bytesOf(SIZE);
  let whole = '';
  for (let fid = first; fid < first + files; fid++) {
    const path = join(device, blobPath(fid));
    if (whole !== '' && fid % FIDS_A_DIRECTORY !== 0) {
      linkSync(whole, path);
    } else {
      mkdirSync(join(device, blobDirectory(fid)), { recursive: true });
      writeFileSync(path, bytes);
      whole = path;
    }
  }
}
