// Backups of the database: list, make, fetch. Scope admin, of all domains: a backup holds the names of all of them.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { BACKUP_NAME } from '../../services/protocol.ts';
import type { Backup } from '../recovery/backups.ts';
import type { Tracker } from '../tracker.ts';
import { authorize } from './auth.ts';
import { problems } from './openapi.ts';

const strict = { additionalProperties: false };
const BackupSchema = Type.Object(
  {
    name: Type.String(),
    at: Type.String({ format: 'date-time', description: 'the instant that it shows' }),
    size: Type.Integer({ description: 'bytes' }),
    sha256: Type.String(),
    devices: Type.Array(Type.Integer(), { description: 'devices that hold it' }),
  },
  strict,
);
const tags = ['operation'];

export function backupRoutes(server: Server, tracker: Tracker): void {
  const { backups } = tracker;

  server.get(
    '/v1/backups',
    {
      schema: {
        tags,
        summary: "Backups of the database on the cluster's own devices, newest first",
        response: { 200: Type.Object({ backups: Type.Array(BackupSchema) }, strict), ...problems() },
      },
    },
    async (request) => {
      await authorize(tracker, request, { scope: 'admin' });
      return { backups: (await backups.list()).map(shown) };
    },
  );

  server.post(
    '/v1/backups',
    {
      schema: {
        tags,
        summary: 'Make a backup now; answers when it is stored',
        response: { 201: BackupSchema, ...problems('too-few-devices') },
      },
    },
    async (request, reply) => {
      await authorize(tracker, request, { scope: 'admin' });
      return reply.code(201).send(shown(await backups.now()));
    },
  );

  server.get(
    '/v1/backups/:name',
    {
      schema: {
        tags,
        summary: "A backup's bytes (gzip), for `cistern restore`",
        params: Type.Object({ name: Type.String({ pattern: BACKUP_NAME }) }, strict),
        response: problems('not-found', 'no-good-replica'),
      },
    },
    async (request, reply) => {
      await authorize(tracker, request, { scope: 'admin' });
      const { backup, body } = await backups.open(request.params.name);
      return reply
        .headers({
          'content-type': 'application/gzip',
          'content-length': String(backup.size),
          etag: `"${backup.sha256}"`,
        })
        .send(body);
    },
  );
}

function shown({ at, ...backup }: Backup) {
  return { ...backup, at: at.toISOString() };
}
