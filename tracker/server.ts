// The tracker's HTTP server: who may enter, what the API is, and all of its routes.
import { createServer, type Server } from '../services/http.ts';
import { requireTokens } from './api/auth.ts';
import { backupRoutes } from './api/backups.ts';
import { batchRoutes } from './api/batch.ts';
import { classRoutes } from './api/classes.ts';
import { clusterRoutes } from './api/cluster.ts';
import { refuseUnreadConditions } from './api/conditions.ts';
import { copyMoveRoutes } from './api/copy-move.ts';
import { deviceCareRoutes } from './api/device-care.ts';
import { deviceRoutes } from './api/devices.ts';
import { directoryRoutes } from './api/directories.ts';
import { domainRoutes } from './api/domains.ts';
import { fileRoutes } from './api/files.ts';
import { fsckRoutes } from './api/fsck.ts';
import { hostRoutes } from './api/hosts.ts';
import { multipartRoutes } from './api/multipart.ts';
import { describeApi } from './api/openapi.ts';
import { rebalanceRoutes } from './api/rebalance.ts';
import { repairRoutes } from './api/repair.ts';
import { rewindRoutes } from './api/rewinds.ts';
import { statRoutes } from './api/stat.ts';
import { statusRoutes } from './api/status.ts';
import { summaryRoutes } from './api/summaries.ts';
import { tokenRoutes } from './api/tokens.ts';
import { trashRoutes } from './api/trash.ts';
import { uploadRoutes } from './api/uploads.ts';
import { whyNotReady } from './cluster/readiness.ts';
import type { Tracker } from './tracker.ts';

const routes = [
  fileRoutes,
  multipartRoutes,
  batchRoutes,
  uploadRoutes,
  directoryRoutes,
  copyMoveRoutes,
  statRoutes,
  summaryRoutes,
  trashRoutes,
  domainRoutes,
  rewindRoutes,
  classRoutes,
  tokenRoutes,
  hostRoutes,
  deviceRoutes,
  deviceCareRoutes,
  statusRoutes,
  rebalanceRoutes,
  repairRoutes,
  fsckRoutes,
  backupRoutes,
  clusterRoutes,
];

/** Makes the server, ready to listen. */
export async function createTrackerServer(tracker: Tracker): Promise<Server> {
  const { config, log, metrics, db, state } = tracker;
  const server = createServer({
    log,
    metrics,
    tls: tracker.tls,
    logRequests: config.CISTERN_LOG_REQUESTS,
    idleSeconds: config.CISTERN_IDLE_SECONDS,
    ready: () => whyNotReady(db, state),
  });
  await describeApi(server);
  requireTokens(server, tracker);
  refuseUnreadConditions(server);
  for (const add of routes) await add(server, tracker);
  return server;
}
