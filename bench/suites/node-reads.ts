// GETs from one storage node beside nginx, which serves the same bytes as files of their own: the node has small blobs in
// volumes.
import { hash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Keyring } from '../../services/tickets.ts';
import { blobDirectory, blobPath } from '../../storage-node/layout.ts';
import type { Cluster } from '../lib/cluster.ts';
import type { Bench, Findings, Row, Suite } from '../lib/suite.ts';
import type { TargetName } from '../lib/targets.ts';
import { find, withNginx, wrk } from '../lib/tools.ts';

const KiB = 1024;
const CASES: { size: number; name: string; target?: TargetName }[] = [
  { size: 4 * KiB, name: '4 KiB' },
  { size: 64 * KiB, name: '64 KiB', target: 'node-get-64k' },
  { size: 1024 * KiB, name: '1 MiB', target: 'node-get-1m' },
];
const FILES = 40;
// More than a node remembers, so that each is checked as in real use.
const TICKETS_A_FILE = 200;
const CONCURRENCY = 32;

export const nodeReads: Suite = {
  name: 'node-reads',
  title: 'GETs from a storage node',
  about:
    `${FILES} files of each size, GETs with tickets, from one node (one process); beside it an nginx with a worker for ` +
    'each core (sendfile, no log) serves the same bytes, a file for each on the same disk. Both by wrk. Each ticket is another one, as in real use.',
  run: async (bench) => {
    for (const program of ['wrk', 'nginx'] as const) {
      if (find(program) !== undefined) continue;
      return { rows: [], skipped: [`${program} is not installed`], figures: {} };
    }
    return bench.withCluster((cluster) => measureAll(bench, cluster));
  },
};

async function measureAll(bench: Bench, cluster: Cluster): Promise<Findings> {
  const rows: Row[] = [];
  const figures: Findings['figures'] = {};
  const [node] = cluster.nodes as [Cluster['nodes'][number]];
  const [device] = node.devices as [{ id: number; path: string }];
  // Beside the device, which lists what is in its own directory.
  const root = mkdtempSync(join(dirname(device.path), 'nginx-'));
  for (const { size, name, target } of CASES) {
    const { fids, tickets } = await store(cluster, node.url, device.id, size, root);
    const measure = async (what: string, origin: string, paths: string[]) => {
      bench.say(`${what}, ${name}`);
      const program = find('wrk') as string;
      const how = { concurrency: CONCURRENCY, seconds: Math.ceil(bench.seconds) };
      if (!bench.quick) await wrk(program, origin, paths, { ...how, seconds: 3 });
      const { perSecond, p50, p99 } = await wrk(program, origin, paths, how);
      rows.push({ what, size: name, concurrency: CONCURRENCY, 'a second': perSecond, p50, p99 });
      return perSecond;
    };
    const ours = await measure('storage node', node.url, tickets);
    const paths = fids.map((fid) => `/${blobPath(fid)}`);
    const nginx = find('nginx') as string;
    const theirs = await withNginx(nginx, root, (origin) => measure('nginx', origin, paths));
    if (target !== undefined) figures[target] = ours / theirs;
  }
  return { rows, skipped: [], figures };
}

/** Puts random bytes on a device, and as files below `root`; returns ticketed paths to GET them, in random order. */
async function store(cluster: Cluster, node: string, device: number, size: number, root: string) {
  const keyring = new Keyring(cluster.clusterKey);
  const first = await cluster.takeFids(FILES);
  const fids = Array.from({ length: FILES }, (_, i) => first + i);
  const exp = Date.now() + 600_000;
  const tickets: string[] = [];
  for (const fid of fids) {
    const body = randomBytes(size);
    const path = `/devices/${device}/blobs/${fid}?ticket=`;
    const binding = { domain: cluster.domain, key: `bench/${fid}`, class: 'default' };
    const put = keyring.sign({ op: 'put', dev: device, fid, max: size, ...binding, exp });
    const answer = await fetch(`${node}${path}${put}`, { method: 'PUT', body });
    if (answer.status !== 201) throw new Error(`PUT was answered ${answer.status}: ${await answer.text()}`);
    mkdirSync(join(root, blobDirectory(fid)), { recursive: true });
    writeFileSync(join(root, blobPath(fid)), body);
    const sha256 = hash('sha256', body, 'hex');
    const headers = { 'content-type': 'image/jpeg', 'last-modified': new Date(0).toUTCString() };
    for (let i = 0; i < TICKETS_A_FILE; i++) {
      tickets.push(path + keyring.sign({ op: 'get', dev: device, fid, size, sha256, headers, exp: exp + i }));
    }
  }
  tickets.sort(() => Math.random() - 0.5);
  return { fids, tickets };
}
