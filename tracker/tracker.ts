// A tracker's parts, wired together. Whoever needs several of them is given the whole.
import { setTimeout as sleep } from 'node:timers/promises';
import { createLogger, type Logger } from '../services/logging.ts';
import { createMetrics, type HttpMetrics } from '../services/metrics.ts';
import { Problem } from '../services/problems.ts';
import { Keyring } from '../services/tickets.ts';
import { FidAllocator } from './cluster/fids.ts';
import { watchCluster } from './cluster/gauges.ts';
import { Presence } from './cluster/presence.ts';
import { ClusterState } from './cluster/state.ts';
import { Tokens } from './cluster/tokens.ts';
import type { TrackerConfig } from './config.ts';
import { Database, sqlState } from './database/database.ts';
import { migrate } from './database/migrate.ts';
import { Namespace } from './namespace/namespace.ts';
import { Replication } from './replication/replication.ts';
import { NodeClient } from './transfer/node-client.ts';

export interface Tracker {
  config: TrackerConfig;
  log: Logger;
  metrics: HttpMetrics;
  keyring: Keyring;
  db: Database;
  state: ClusterState;
  tokens: Tokens;
  fids: FidAllocator;
  namespace: Namespace;
  nodes: NodeClient;
  replication: Replication;
  presence: Presence;
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
  await prepareDatabase(config.CISTERN_DATABASE_URL, log);
  const db = new Database({ url: config.CISTERN_DATABASE_URL, max: config.CISTERN_DATABASE_POOL, log });
  const metrics = createMetrics('tracker');
  const keyring = new Keyring(config.CISTERN_CLUSTER_KEY, config.CISTERN_CLUSTER_KEY_PREVIOUS);
  const state = await ClusterState.open({
    db,
    log,
    downSeconds: config.CISTERN_DOWN_SECONDS,
    stateSeconds: config.CISTERN_STATE_SECONDS,
  });
  watchCluster(metrics.registry, state);
  const nodes = new NodeClient(state, keyring);
  const replication = new Replication({ config, log, db, state, nodes, metrics });
  const presence = new Presence(db, log);
  return {
    config,
    log,
    metrics,
    keyring,
    db,
    state,
    tokens: new Tokens(db, config.CISTERN_ADMIN_TOKEN, config.CISTERN_STATE_SECONDS * 1000),
    fids: new FidAllocator(db, () => state.databaseIdentity),
    namespace: new Namespace(db, state, () => replication.wake()),
    nodes,
    replication,
    presence,
    async stop() {
      await Promise.all([replication.stop(), presence.stop()]);
      state.stop();
      await nodes.close();
      await db.close();
    },
  };
}

const PATIENCE_MS = 30_000;

/** Migrates. A database that does not answer yet (they often start together) is waited for. */
async function prepareDatabase(url: string, log: Logger): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  for (let waiting = false; ; waiting = true) {
    try {
      const applied = await migrate(url);
      if (applied > 0) log.info({ applied }, 'schema migrated');
      return;
    } catch (error) {
      const why = explain(error);
      if (!mayCome(error)) throw new Error(`cannot prepare the database: ${why}`, { cause: error });
      if (Date.now() > deadline) {
        throw new Error(`the database did not come within ${PATIENCE_MS / 1000} s: ${why}`, { cause: error });
      }
      if (!waiting) log.warn({ why }, 'waiting for the database');
      await sleep(500);
    }
  }
}

/** True if the same attempt can succeed a moment later: nobody listens yet, or it is starting, stopping or full. */
function mayCome(error: unknown): boolean {
  const code = sqlState(error);
  if (code !== undefined) return /^(57P|08|53)/.test(code);
  return error instanceof Problem || error instanceof AggregateError || isNetworkError(error);
}

function isNetworkError(error: unknown): boolean {
  const { code, message } = error as NodeJS.ErrnoException;
  return /^E[A-Z_]+$/.test(code ?? '') || /^(Connection terminated|timeout)/.test(message);
}

/** What went wrong, in one line. An attempt at several addresses of one name fails with an error that has no words. */
function explain(error: unknown): string {
  const one = error instanceof AggregateError ? error.errors[0] : error;
  return (one instanceof Error ? one.message : String(one)).split('\n', 1)[0] as string;
}
