// All that `cistern status` shows, looked at just now. Scope admin.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { judge } from '../cluster/verdict.ts';
import type { Statement } from '../database/database.ts';
import { addressOf } from '../database/servers.ts';
import { repairSummary } from '../replication/summary.ts';
import type { Tracker } from '../tracker.ts';
import { authorize } from './auth.ts';
import { Device, shownDevices } from './devices.ts';
import { Host, shownHosts } from './hosts.ts';
import { problems } from './openapi.ts';
import { Progress, shownProgress } from './rebalance.ts';

const strict = { additionalProperties: false };
const DateTime = Type.String({ format: 'date-time' });
const Status = Type.Object(
  {
    verdict: Type.Union([Type.Literal('healthy'), Type.Literal('degraded'), Type.Literal('unhealthy')], {
      description:
        'degraded: all can be read and written, but is less safe than it should be. unhealthy: not even that',
    }),
    reasons: Type.Array(
      Type.Object(
        {
          what: Type.String(),
          next: Type.Union([Type.String(), Type.Null()], { description: 'what to do about it' }),
        },
        strict,
      ),
      { description: 'the gravest first; empty if the verdict is healthy' },
    ),
    cluster: Type.String({ description: "the cluster's id" }),
    trackers: Type.Array(
      Type.Object(
        { url: Type.String(), version: Type.String(), seen: DateTime, self: Type.Boolean() },
        strict,
      ),
    ),
    database: Type.Object(
      {
        server: Type.String({ description: 'address of the primary' }),
        version: Type.String(),
        latencyMs: Type.Number({ description: 'of one round trip' }),
        size: Type.Integer({ description: 'bytes' }),
        backup: Type.Union([DateTime, Type.Null()], { description: 'the instant of the newest backup' }),
      },
      strict,
    ),
    hosts: Type.Array(Host),
    devices: Type.Array(Device),
    rebalance: Progress,
    files: Type.Object(
      {
        domains: Type.Integer(),
        underReplicated: Type.Integer({ description: 'below their copies, at least' }),
        withoutCopy: Type.Integer({ description: 'without a good copy that can be read' }),
        oldestRepair: Type.Union([DateTime, Type.Null()]),
        queued: Type.Integer({ description: 'in the repair queue' }),
        removing: Type.Integer({ description: 'replicas that are being removed' }),
        reaping: Type.Integer({ description: 'without a name, kept for a while before they are removed' }),
      },
      strict,
    ),
  },
  strict,
);

const ping: Statement = { name: 'ping', text: 'SELECT 1' };
const describeDatabase: Statement = {
  name: 'describe-database',
  text: `SELECT current_setting('server_version') AS version, pg_database_size(current_database()) AS size`,
};

export function statusRoutes(server: Server, tracker: Tracker): void {
  const { db, state, presence, backups } = tracker;
  server.get(
    '/v1/status',
    {
      schema: {
        tags: ['operation'],
        summary: 'Is the cluster well, and if not, why, and what is to be done',
        response: { 200: Status, ...problems() },
      },
    },
    async (request) => {
      await authorize(tracker, request, { scope: 'admin' });
      await state.refresh();
      const started = performance.now();
      await db.query(ping);
      const latencyMs = Math.round((performance.now() - started) * 100) / 100;
      const [[database], trackers, backlog, backup] = await Promise.all([
        db.query<{ version: string; size: number }>(describeDatabase),
        presence.list(),
        repairSummary(db),
        backups.standing(),
      ]);
      const { queued, underReplicated, withoutCopy, oldest, removing, reaping } = backlog;
      const domains = state.domains();
      const oldestRepair = oldest?.toISOString() ?? null;
      return {
        ...judge({
          hosts: state.hosts(),
          devices: state.devices(),
          domains,
          backlog,
          missed: tracker.replication.missed,
          databaseLatencyMs: latencyMs,
          databaseReadOnly: db.standing?.readOnly,
          backupOverdue: backup.overdue,
        }),
        cluster: state.clusterId,
        trackers: trackers.map(({ id, url, version, seen }) => ({
          url,
          version,
          seen: seen.toISOString(),
          self: id === presence.id,
        })),
        database: {
          server: addressOf(db.standing?.url ?? ''),
          version: database?.version ?? '',
          latencyMs,
          size: database?.size ?? 0,
          backup: backup.newest?.toISOString() ?? null,
        },
        hosts: shownHosts(state),
        devices: await shownDevices(tracker),
        rebalance: await shownProgress(tracker),
        files: {
          domains: domains.length,
          underReplicated,
          withoutCopy,
          oldestRepair,
          queued,
          removing,
          reaping,
        },
      };
    },
  );
}
