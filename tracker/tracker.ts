// A tracker's parts, wired together. Whoever needs several of them is given the whole.
import type { Counter } from 'prom-client';
import { createLogger, type Logger } from '../services/logging.ts';
import { createMetrics, type HttpMetrics } from '../services/metrics.ts';
import { Keyring } from '../services/tickets.ts';
import { Tls } from '../services/tls.ts';
import { FidAllocator } from './cluster/fids.ts';
import { watchCluster } from './cluster/gauges.ts';
import { Presence } from './cluster/presence.ts';
import { ClusterState } from './cluster/state.ts';
import { Tokens } from './cluster/tokens.ts';
import type { TrackerConfig } from './config.ts';
import { Database } from './database/database.ts';
import { watchDatabase } from './database/gauges.ts';
import { prepareDatabase } from './database/prepare.ts';
import { serversOf } from './database/servers.ts';
import { Namespace } from './namespace/namespace.ts';
import { BackupSchedule } from './recovery/schedule.ts';
import { Replication } from './replication/replication.ts';
import { NodeClient } from './transfer/node-client.ts';

export interface Tracker {
  config: TrackerConfig;
  log: Logger;
  metrics: HttpMetrics;
  keyring: Keyring;
  tls: Tls;
  db: Database;
  state: ClusterState;
  tokens: Tokens;
  fids: FidAllocator;
  namespace: Namespace;
  nodes: NodeClient;
  replication: Replication;
  presence: Presence;
  backups: BackupSchedule;
  /** Reads that were answered while no primary of the database did. */
  staleReads: Counter;
  /** Ends what runs in the background, then closes all connections. Requests must have ended before. */
  stop(): Promise<void>;
}

/**
 * Brings the database up to date, waiting for it if it is not there yet, and makes the parts. Background work begins
 * with `replication.start()` and `presence.start(url)`.
 * @throws if the database does not come, or refuses us; the message is one line
 */
export async function createTracker(config: TrackerConfig): Promise<Tracker> {
  const log = createLogger({ level: config.CISTERN_LOG_LEVEL, service: 'tracker' });
  const tls = new Tls(config, log);
  const db = await openDatabase(config, log);
  const metrics = createMetrics('tracker');
  const keyring = new Keyring(config.CISTERN_CLUSTER_KEY, config.CISTERN_CLUSTER_KEY_PREVIOUS);
  const state = await ClusterState.open({
    db,
    log,
    downSeconds: config.CISTERN_DOWN_SECONDS,
    stateSeconds: config.CISTERN_STATE_SECONDS,
  });
  watchCluster(metrics.registry, state);
  const staleReads = watchDatabase(metrics.registry, db);
  const nodes = new NodeClient(state, keyring, tls);
  const replication = new Replication({ config, log, db, state, nodes, metrics });
  const presence = new Presence(db, log);
  const backups = new BackupSchedule({ config, log, db, state, nodes, metrics });
  return {
    config,
    log,
    metrics,
    keyring,
    tls,
    db,
    state,
    tokens: new Tokens(db, adminTokensOf(config), config.CISTERN_STATE_SECONDS * 1000),
    fids: new FidAllocator(db, () => state.databaseIdentity),
    namespace: new Namespace(db, state, () => replication.wake(), {
      seconds: config.CISTERN_STALE_READS,
      bytes: config.CISTERN_STALE_BYTES,
    }),
    nodes,
    replication,
    presence,
    backups,
    staleReads,
    async stop() {
      await Promise.all([replication.stop(), presence.stop(), backups.stop()]);
      state.stop();
      await nodes.close();
      await db.close();
    },
  };
}

function adminTokensOf({ CISTERN_ADMIN_TOKEN, CISTERN_ADMIN_TOKEN_PREVIOUS }: TrackerConfig): string[] {
  return [CISTERN_ADMIN_TOKEN, CISTERN_ADMIN_TOKEN_PREVIOUS].filter((token) => token !== undefined);
}

async function openDatabase(config: TrackerConfig, log: Logger): Promise<Database> {
  const {
    CISTERN_DATABASE_URL: url,
    CISTERN_DATABASE_POOL: max,
    CISTERN_DATABASE_SYNCHRONOUS: wish,
  } = config;
  const synchronous = wish === 'auto' ? serversOf(url).length > 1 : wish === 'required';
  const db = new Database({ url, max, synchronous, log });
  try {
    await prepareDatabase(db, log);
    return db;
  } catch (error) {
    await db.close();
    throw error;
  }
}
