// What one look at the database says of the cluster: its hosts, devices, domains and classes. One statement, so that
// all of it is of one instant.
import type { DeviceReport, ScrubReport } from '../../services/protocol.ts';
import type { Queryable } from '../database/database.ts';

export interface HostState {
  id: number;
  name: string;
  url: string;
  zone: string;
  session: string;
  previousSession: string | null;
  /** When its last heartbeat came, by the database's clock. */
  seen: Date;
  up: boolean;
  /** Its clock minus the database's, in milliseconds. */
  clockOffsetMs: number;
}

export interface DeviceState {
  id: number;
  host: HostState;
  uuid: string;
  state: 'alive' | 'readonly' | 'drain' | 'dead';
  weight: number;
  /** An operator wants it back though it was dead: its inventory is to be compared first. */
  reviving: boolean;
  /** When it came back from the dead, in milliseconds; null if it never did. */
  revivedMs: number | null;
  condition: DeviceReport['condition'];
  /** Why the condition is not ok, as its node says. */
  why?: string;
  /** Its host is up and its condition is not 'out'. */
  up: boolean;
  /** It is up and not dead. */
  readable: boolean;
  /** It may be given new blobs: readable, alive, ok, and its host's clock is right. */
  writable: boolean;
  total: number;
  /** Bytes that uploads may still fill, beyond the reserve. */
  free: number;
  blobs: number;
  errors: number;
  highestFid: number;
  /** Bad replicas that are kept aside on the disk. */
  quarantined: number;
  /** How far its scrub is; absent if its node does not say. */
  scrub?: ScrubReport;
}

export interface ClassState {
  id: number;
  domainId: number;
  name: string;
  copies: number;
  minCopies: number;
  /** What its copies are spread over. */
  spread: 'host' | 'zone';
  prefixes: string[];
  trash: boolean;
}

export interface DomainState {
  id: number;
  name: string;
  trashDays: number;
  /** The environment that writes it; null: none has named itself yet. */
  environment: string | null;
  created: Date;
  classes: ClassState[];
}

export interface Snapshot {
  clusterId: string;
  /** 'system identifier:timeline' of the database that answered. */
  databaseIdentity: string;
  /** The database's clock, in milliseconds. */
  now: number;
  hosts: HostState[];
  devices: DeviceState[];
  domains: DomainState[];
}

/** A host whose clock differs by more than this is given no new blobs: its receipts and expiries are doubtful. */
export const MAX_CLOCK_OFFSET_MS = 5_000;

/** SQL: changes with each failover and restore. The timeline is read from the WAL, which knows a promotion at once. */
export const DATABASE_IDENTITY = `(SELECT system_identifier FROM pg_control_system()) || ':' ||
  left(pg_walfile_name(pg_current_wal_lsn()), 8)`;

const readCluster = {
  name: 'read-cluster',
  text: `
    SELECT c.id AS cluster_id, ${DATABASE_IDENTITY} AS database_identity,
      extract(epoch FROM clock_timestamp())::float8 * 1000 AS now,
      (SELECT coalesce(json_agg(json_build_object(
          'id', h.id, 'name', h.name, 'url', h.url, 'zone', h.zone, 'session', h.session,
          'previousSession', h.previous_session, 'seenMs', extract(epoch FROM coalesce(b.at, h.created)) * 1000,
          'up', coalesce(b.at >= now() - make_interval(secs => $1), false),
          'clockOffsetMs', coalesce(b.clock_offset_ms, 0), 'reports', coalesce(b.reports, '[]')
        ) ORDER BY h.name), '[]') FROM hosts h LEFT JOIN heartbeats b ON b.host_id = h.id) AS hosts,
      (SELECT coalesce(json_agg(json_build_object(
          'id', d.id, 'hostId', d.host_id, 'uuid', d.uuid, 'state', d.state, 'weight', d.weight,
          'reviving', d.reviving, 'revivedMs', extract(epoch FROM d.revived) * 1000
        ) ORDER BY d.id), '[]') FROM devices d) AS devices,
      (SELECT coalesce(json_agg(json_build_object(
          'id', d.id, 'name', d.name, 'trashDays', d.trash_days, 'environment', d.environment, 'createdMs', extract(epoch FROM d.created) * 1000,
          'classes', (SELECT coalesce(json_agg(json_build_object(
              'id', k.id, 'domainId', k.domain_id, 'name', k.name, 'copies', k.copies, 'minCopies', k.min_copies,
              'spread', k.spread, 'prefixes', k.prefixes, 'trash', k.trash
            ) ORDER BY k.name), '[]') FROM classes k WHERE k.domain_id = d.id)
        ) ORDER BY d.name), '[]') FROM domains d WHERE d.dropped IS NULL) AS domains
    FROM cluster c WHERE c.only_row`,
};

interface Row {
  cluster_id: string;
  database_identity: string;
  now: number;
  hosts: (Omit<HostState, 'seen'> & { seenMs: number; reports: DeviceReport[] })[];
  devices: (Pick<DeviceState, 'id' | 'uuid' | 'state' | 'weight' | 'reviving' | 'revivedMs'> & {
    hostId: number;
  })[];
  domains: (Omit<DomainState, 'created'> & { createdMs: number })[];
}

/**
 * Looks at the whole cluster. A host is up if its last heartbeat is younger than `downSeconds` by the database's
 * clock, or if `assumeUp` holds its id.
 */
export async function readSnapshot(
  db: Queryable,
  downSeconds: number,
  assumeUp: ReadonlySet<number>,
): Promise<Snapshot> {
  const [row] = await db.query<Row>(readCluster, [downSeconds]);
  if (row === undefined) throw new Error('the table cluster has no row');
  const hosts = new Map<number, { host: HostState; reports: Map<number, DeviceReport> }>();
  for (const { seenMs, reports, ...host } of row.hosts) {
    hosts.set(host.id, {
      host: { ...host, up: host.up || assumeUp.has(host.id), seen: new Date(seenMs) },
      reports: new Map(reports.map((report) => [report.id, report])),
    });
  }
  return {
    clusterId: row.cluster_id,
    databaseIdentity: row.database_identity,
    now: row.now,
    hosts: [...hosts.values()].map(({ host }) => host),
    devices: row.devices.flatMap(({ hostId, ...device }) => {
      const known = hosts.get(hostId);
      return known === undefined ? [] : [deviceState(device, known.host, known.reports.get(device.id))];
    }),
    domains: row.domains.map(({ createdMs, ...domain }) => ({ ...domain, created: new Date(createdMs) })),
  };
}

function deviceState(
  device: Omit<Row['devices'][number], 'hostId'>,
  host: HostState,
  given: DeviceReport | undefined,
): DeviceState {
  const report = trusted(device, host, given);
  const up = host.up && report.condition !== 'out';
  const readable = up && device.state !== 'dead';
  const clockIsRight = Math.abs(host.clockOffsetMs) <= MAX_CLOCK_OFFSET_MS;
  const { condition, why, total, free, blobs, errors, highestFid, quarantined = 0, scrub } = report;
  return {
    ...device,
    host,
    condition,
    ...(why === undefined ? {} : { why }),
    up,
    readable,
    writable: readable && device.state === 'alive' && condition === 'ok' && clockIsRight,
    total,
    free,
    blobs,
    errors,
    highestFid,
    quarantined,
    ...(scrub === undefined ? {} : { scrub }),
  };
}

/** What its node says of a device; that it is out, if the node says nothing, or speaks of another disk. */
function trusted(
  device: { id: number; uuid: string },
  host: HostState,
  report: DeviceReport | undefined,
): Omit<DeviceReport, 'id' | 'uuid'> {
  const nothing = { condition: 'out', total: 0, free: 0, blobs: 0, errors: 0, highestFid: 0 } as const;
  if (report === undefined) return { ...nothing, why: `host ${host.name} does not report it` };
  if (report.condition === 'out' || report.uuid === device.uuid) return report;
  return { ...nothing, why: `host ${host.name} reports another disk in its place` };
}
