// Puts a storage node together: devices, routes, membership. main.ts runs it as a process, tests run it in theirs.
import { randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { LRUCache } from 'lru-cache';
import { Gauge, type Registry } from 'prom-client';
import { Agent } from 'undici';
import { ConfigError } from '../services/config.ts';
import { createServer } from '../services/http.ts';
import type { Logger } from '../services/logging.ts';
import { createMetrics } from '../services/metrics.ts';
import type { ScrubReport } from '../services/protocol.ts';
import { Keyring } from '../services/tickets.ts';
import { Tls } from '../services/tls.ts';
import { BlobCache } from './blob-cache.ts';
import type { NodeConfig } from './config.ts';
import type { NodeContext } from './context.ts';
import { Device } from './device.ts';
import { Findings } from './findings.ts';
import { Membership } from './membership.ts';
import { addRoutes } from './routes.ts';
import { Scrub } from './scrub.ts';

/** Another node or a tracker that stands still for this long is given up. */
const PEER_STALL_MS = 10_000;
/** What is still in flight this long after the node was told to stop is cut off. */
const DRAIN_MS = 20_000;

const CHECKED_TICKETS = 4_096;

export interface StorageNode {
  /** Where it is reached. */
  url: string;
  /** Reads the files again that may have changed. */
  reload(): void;
  /** Stops accepting, finishes what is in flight (bounded), closes everything. */
  stop(): Promise<void>;
}

/** Starts a node; it listens when this returns, and registers with a tracker as soon as one answers. */
export async function startNode(config: NodeConfig, log: Logger): Promise<StorageNode> {
  const metrics = createMetrics('storage-node');
  const tls = new Tls(config, log);
  const cache = new BlobCache(config.CISTERN_CACHE_BYTES);
  const findings = new Findings();
  const node: NodeContext = {
    config,
    log,
    metrics,
    cache,
    findings,
    checked: new LRUCache({ max: CHECKED_TICKETS }),
    keyring: new Keyring(config.CISTERN_CLUSTER_KEY, config.CISTERN_CLUSTER_KEY_PREVIOUS),
    session: randomUUID(),
    devices: new Map(),
    agent: new Agent({
      headersTimeout: PEER_STALL_MS,
      bodyTimeout: PEER_STALL_MS,
      connect: tls.connector(3_000),
    }),
  };
  let membership: Membership | undefined;
  for (const { id, path } of config.devices) {
    const reserve = config.CISTERN_RESERVE_BYTES;
    const volumes = { upTo: config.CISTERN_VOLUME_BLOB_BYTES, most: config.CISTERN_VOLUME_BYTES };
    const cluster = () => membership?.cluster;
    const onOut = () => cache.dropDevice(id);
    const onGone = (fid: number) => cache.drop(id, fid);
    node.devices.set(id, new Device({ id, path, reserve, volumes, log, findings, cluster, onOut, onGone }));
  }
  await Promise.all([...node.devices.values()].map((device) => device.look()));
  refuseTwins(node);
  addGauges(node, metrics.registry);

  const server = createServer({
    log,
    metrics,
    tls,
    logRequests: config.CISTERN_LOG_REQUESTS,
    idleSeconds: config.CISTERN_IDLE_SECONDS,
    ready: () => whyNotReady(node, membership),
  });
  addRoutes(server, node);
  await server.listen({ host: config.CISTERN_LISTEN, port: config.CISTERN_PORT });
  const url = config.CISTERN_URL ?? `${tls.scheme}://${addressOf(server.server.address() as AddressInfo)}`;
  membership = new Membership(node, url);
  membership.start();
  startScrubs(node, membership);
  log.info({ url, devices: config.devices.map(({ id }) => id) }, 'listening');

  return {
    url,
    reload: () => tls.reload(),
    async stop() {
      const cut = setTimeout(() => server.server.closeAllConnections(), DRAIN_MS);
      await server.close();
      clearTimeout(cut);
      await membership.stop();
      await Promise.all([...node.devices.values()].map((device) => device.stop()));
      await node.agent.destroy();
    },
  };
}

function startScrubs({ config, log, findings, devices }: NodeContext, membership: Membership): void {
  for (const device of devices.values()) {
    device.scrub = new Scrub({
      device,
      findings,
      log,
      days: config.CISTERN_SCRUB_DAYS,
      bytesPerSecond: config.CISTERN_SCRUB_BYTES_PER_SECOND,
      quarantineDays: config.CISTERN_QUARANTINE_DAYS,
      describe: (fids) => membership.describe(fids),
    });
    device.scrub.start();
  }
}

function addressOf({ address, family, port }: AddressInfo): string {
  return `${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}

/** A disk that was copied with its marker file, or is mounted twice. */
function refuseTwins({ devices }: NodeContext): void {
  const seen = new Map<string, string>();
  for (const { uuid, path } of devices.values()) {
    if (uuid === null) continue;
    const twin = seen.get(uuid);
    if (twin !== undefined)
      throw new ConfigError(`CISTERN_DEVICES: '${twin}' and '${path}' are the same device`);
    seen.set(uuid, path);
  }
}

function whyNotReady({ devices }: NodeContext, membership: Membership | undefined): string | undefined {
  if (!membership?.registered) return 'not registered with a tracker yet';
  const usable = [...devices.values()].some((device) => device.accepted && device.state.condition === 'ok');
  return usable ? undefined : 'no device is in order';
}

function addGauges({ devices, cache }: NodeContext, registry: Registry): void {
  const registers = [registry];
  const ofDevice = (name: string, help: string, value: (device: Device) => number) =>
    new Gauge({
      name,
      help,
      labelNames: ['device'],
      registers,
      collect() {
        for (const device of devices.values()) this.set({ device: String(device.id) }, value(device));
      },
    });
  ofDevice('cistern_device_total_bytes', 'Size of the file system', (device) => device.space.total);
  ofDevice('cistern_device_free_bytes', 'Space left for uploads', (device) => device.report().free);
  ofDevice('cistern_device_blobs', 'Blobs on the device', (device) => device.report().blobs);
  ofDevice(
    'cistern_device_dead_bytes',
    'Bytes of removed blobs that their volumes still take up',
    (device) => device.store.deadBytes,
  );
  ofDevice('cistern_device_errors', 'Read and write errors since the start', (device) => device.errors);
  ofDevice(
    'cistern_device_quarantined',
    'Bad replicas that are kept aside',
    (device) => device.quarantine.count,
  );
  const ofScrub = (name: string, help: string, value: (scrub: ScrubReport) => number) =>
    ofDevice(name, help, ({ scrub }) => (scrub === undefined ? 0 : value(scrub.report)));
  ofScrub('cistern_scrub_bytes', 'Bytes that the present or last pass has read', ({ bytes }) => bytes);
  ofScrub('cistern_scrub_found', 'Bad replicas that scrubs have found, ever', ({ found }) => found);
  ofScrub(
    'cistern_scrub_completed_seconds',
    'When the last pass ended, seconds since the epoch; 0: none has yet',
    ({ completed }) => (completed ?? 0) / 1000,
  );
  new Gauge({
    name: 'cistern_device_condition',
    help: '1 for the condition that the device is in',
    labelNames: ['device', 'condition'],
    registers,
    collect() {
      for (const device of devices.values()) {
        for (const condition of ['ok', 'readonly', 'out'] as const) {
          const is = device.state.condition === condition;
          this.set({ device: String(device.id), condition }, is ? 1 : 0);
        }
      }
    },
  });
  const ofCache = (name: string, help: string, value: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });
  ofCache('cistern_cache_bytes', 'Memory that holds small blobs', () => cache.bytes);
  ofCache('cistern_cache_hits', 'Blobs served from memory since the start', () => cache.hits);
  ofCache('cistern_cache_misses', 'Small blobs read from disk since the start', () => cache.misses);
}
