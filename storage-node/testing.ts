// For the node's tests: a real node on real directories, and a tracker that knows two routes only.
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Fastify from 'fastify';
import { createLogger } from '../services/logging.ts';
import type { Heartbeat, KnownBlob, Registration } from '../services/protocol.ts';
import { Keyring, type Ticket } from '../services/tickets.ts';
import { readNodeConfig } from './config.ts';
import { startNode } from './node.ts';

export const CLUSTER_KEY = 'a cluster key that is used in tests only';
export const keyring = new Keyring(CLUSTER_KEY);
const CLUSTER = 'test-cluster';

/** A ticket without its expiry: the tests' tickets are good for a minute. */
type Permission<T = Ticket> = T extends Ticket ? Omit<T, 'exp'> : never;

export function sign(permission: Permission): string {
  return keyring.sign({ ...permission, exp: Date.now() + 60_000 } as Ticket);
}

export const binding = { domain: 'demo', key: 'a/b.jpg', class: 'default' };

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Answers registrations and heartbeats as a tracker does; tests read what it was told and set what it says. */
export async function startFakeTracker(port = 0) {
  const server = Fastify();
  const tracker = {
    url: '',
    registrations: [] as Registration[],
    heartbeats: [] as Heartbeat[],
    /** Added to the clock that it tells. */
    clockError: 0,
    cluster: CLUSTER,
    /** What it knows of blobs; undefined: it does not answer that question. */
    blobs: undefined as KnownBlob[] | undefined,
    stop: () => server.close(),
  };
  const known = new Set<string>();
  server.post('/v1/cluster/register', async (request) => {
    const registration = request.body as Registration;
    tracker.registrations.push(registration);
    known.add(registration.session);
    const devices = registration.devices.map(({ id, uuid, condition }) => {
      if (uuid !== null) return { id, verdict: 'accepted' };
      return condition === 'out' ? { id, verdict: 'refused', why: 'no marker' } : { id, verdict: 'format' };
    });
    return { cluster: tracker.cluster, devices };
  });
  server.post('/v1/cluster/heartbeat', async (request) => {
    const heartbeat = request.body as Heartbeat;
    tracker.heartbeats.push(heartbeat);
    const clock = Date.now() + tracker.clockError;
    return { cluster: tracker.cluster, register: !known.has(heartbeat.session), clock };
  });
  server.post('/v1/cluster/blobs', async (request, reply) => {
    const { fids } = request.body as { fids: number[] };
    if (tracker.blobs === undefined) return reply.code(503).send({});
    return { blobs: tracker.blobs.filter(({ fid }) => fids.includes(fid)) };
  });
  tracker.url = await server.listen({ host: '127.0.0.1', port });
  return tracker;
}
export type FakeTracker = Awaited<ReturnType<typeof startFakeTracker>>;

/** A directory for one test; `remove` it at the end. */
export function scratch() {
  const path = mkdtempSync(join(tmpdir(), 'cistern-node-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export interface NodeOptions {
  tracker: FakeTracker;
  directory: string;
  devices?: number[];
  env?: Record<string, string>;
}

/** Starts a node and, unless its `env` says otherwise, waits until it may take writes. */
export async function startTestNode({ tracker, directory, devices = [1], env = {} }: NodeOptions) {
  const paths = devices.map((id) => join(directory, `dev${id}`));
  for (const path of paths) mkdirSync(path, { recursive: true });
  const config = readNodeConfig({
    CISTERN_CLUSTER_KEY: CLUSTER_KEY,
    CISTERN_HOST: 'h1',
    CISTERN_PORT: '0',
    CISTERN_TRACKERS: tracker.url,
    CISTERN_DEVICES: paths.join(','),
    CISTERN_RESERVE_BYTES: '0',
    // Tests look at the files of blobs, small ones as well; those of volumes say so.
    CISTERN_VOLUME_BLOB_BYTES: '0',
    CISTERN_HEARTBEAT_SECONDS: '0.1',
    CISTERN_LOG_LEVEL: 'silent',
    ...env,
  });
  const log = createLogger({ level: config.CISTERN_LOG_LEVEL, service: 'storage-node', host: 'h1' });
  const node = await startNode(config, log);
  await until(async () => (await fetch(`${node.url}/readyz`)).ok);
  return { ...node, ...blobClient(node.url), paths };
}

/** What tracker and clients send to a node. */
export function blobClient(url: string) {
  const at = (dev: number, fid: number, ticket: string, action = '') =>
    `${url}/devices/${dev}/blobs/${fid}${action}?ticket=${ticket}`;
  const putUrl = (fid: number, more: { dev?: number; max?: number; next?: string } = {}) => {
    const { dev = 1, max = 2 ** 30, next } = more;
    const chain = next === undefined ? {} : { next };
    return at(dev, fid, sign({ op: 'put', dev, fid, max, ...chain, ...binding }));
  };
  const getUrl = (fid: number, bytes: Uint8Array, headers: Record<string, string> = {}, dev = 1) =>
    at(dev, fid, sign({ op: 'get', dev, fid, size: bytes.length, sha256: sha256(bytes), headers }));
  return {
    at,
    putUrl,
    getUrl,
    put: (fid: number, bytes: Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) =>
      fetch(putUrl(fid), { method: 'PUT', body: bytes, headers }),
    get: (fid: number, bytes: Uint8Array, headers: Record<string, string> = {}) =>
      fetch(getUrl(fid, bytes), { headers }),
    remove: (fid: number, dev = 1) =>
      fetch(at(dev, fid, sign({ op: 'delete', dev, fid })), { method: 'DELETE' }),
  };
}

/** The temporary files of a device's uploads; the scrub writes its position there as well, for a moment. */
export function unfinishedBlobs(device: string): string[] {
  return readdirSync(join(device, 'tmp')).filter((name) => /^\d/.test(name));
}

/** Resolves when `condition` holds, and fails when it has not for twenty seconds. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('the condition never came to hold');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export function random(size: number): Buffer<ArrayBuffer> {
  return randomBytes(size);
}

/** Two nodes and their tracker: h1 with the devices 1 and 2, h2 with the device 3. */
export async function startPair() {
  const files = scratch();
  const tracker = await startFakeTracker();
  const node = await startTestNode({ tracker, directory: join(files.path, 'h1'), devices: [1, 2] });
  const env = { CISTERN_HOST: 'h2' };
  const other = await startTestNode({ tracker, directory: join(files.path, 'h2'), devices: [3], env });
  const stop = async () => {
    await Promise.all([node.stop(), other.stop()]);
    await tracker.stop();
    files.remove();
  };
  return { files, tracker, node, other, stop };
}

/** For `needs`: mounting wants root, and a kernel that lets it. */
export function lacksMount(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may mount a small disk';
  const { path, remove } = scratch();
  try {
    execFileSync('mount', ['-t', 'tmpfs', 'none', path], { stdio: 'ignore' });
    execFileSync('umount', [path]);
    return undefined;
  } catch {
    return 'this machine lets nobody mount a small disk';
  } finally {
    remove();
  }
}
