// fsck: what database and disks say of each other, page by page. It only looks. Scope admin.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { Problem } from '../../services/problems.ts';
import { FINDING_KINDS } from '../replication/fsck.ts';
import { fsckDevice } from '../replication/fsck-device.ts';
import { fsckDirectories } from '../replication/fsck-directories.ts';
import { fsckFiles } from '../replication/fsck-files.ts';
import { whyUnreadable } from '../replication/parts.ts';
import type { Tracker } from '../tracker.ts';
import { NodeUnreachable } from '../transfer/node-client.ts';
import { authorize } from './auth.ts';
import { problems } from './openapi.ts';

const strict = { additionalProperties: false };
const Text = Type.Union([Type.String(), Type.Null()]);
const Integer = Type.Union([Type.Integer(), Type.Null()]);
const Page = Type.Object(
  {
    compared: Type.Integer({ description: 'replicas, blobs or directories' }),
    bytes: Type.Integer(),
    findings: Type.Array(
      Type.Object(
        {
          kind: Type.Enum(FINDING_KINDS),
          fid: Integer,
          device: Integer,
          host: Text,
          domain: Text,
          key: Text,
          what: Type.String(),
          next: Type.String({ description: 'what to do about it' }),
        },
        strict,
      ),
    ),
    next: Type.Optional(
      Type.Integer({ description: 'ask again with `after` set to this; absent at the end' }),
    ),
  },
  strict,
);
const query = {
  after: Type.Integer({ minimum: 0, default: 0, description: 'begin after this fid (directories: id)' }),
  limit: Type.Integer({ minimum: 1, maximum: 10_000, default: 10_000 }),
  domain: Type.Optional(Type.String({ description: 'report on files of this domain only' })),
};
const Query = Type.Object(query, strict);
const DeviceQuery = Type.Object(
  {
    ...query,
    verify: Type.Boolean({
      default: false,
      description: 'read all replicas again and compare their digests',
    }),
  },
  strict,
);
const DevicePath = Type.Object({ device: Type.Integer({ minimum: 1, maximum: 2_147_483_647 }) }, strict);
const tags = ['operation'];

export function fsckRoutes(server: Server, tracker: Tracker): void {
  const { db, state } = tracker;
  const domainId = async (name: string | undefined) =>
    name === undefined ? undefined : (await state.domain(name)).id;

  server.get(
    '/v1/fsck/devices/:device',
    {
      schema: {
        tags,
        summary: 'Compare some replicas on a device with what the database says of it',
        params: DevicePath,
        querystring: DeviceQuery,
        response: {
          200: Page,
          ...problems('invalid-request', 'domain-not-found', 'not-found', 'device-unavailable'),
        },
      },
    },
    async (request) => {
      await authorize(tracker, request, { scope: 'admin' });
      const { domain, ...look } = request.query;
      const id = request.params.device;
      const device = state.device(id);
      if (device === undefined) throw new Problem('not-found', `There is no device ${id}.`);
      if (!device.readable) throw new Problem('device-unavailable', `Device ${id} ${whyUnreadable(device)}.`);
      const only = await domainId(domain);
      try {
        return await fsckDevice(tracker, device, {
          ...look,
          ...(only === undefined ? {} : { domainId: only }),
        });
      } catch (error) {
        if (!(error instanceof NodeUnreachable)) throw error;
        throw new Problem('device-unavailable', `Device ${id} cannot be asked: ${error.message}.`, {
          cause: error,
        });
      }
    },
  );

  const ofTables = {
    querystring: Query,
    response: { 200: Page, ...problems('invalid-request', 'domain-not-found') },
  };

  server.get(
    '/v1/fsck/files',
    { schema: { tags, summary: 'Compare names, blobs and copies with each other', ...ofTables } },
    async (request) => {
      await authorize(tracker, request, { scope: 'admin' });
      const { domain, ...page } = request.query;
      return fsckFiles(tracker, { ...page, domainId: await domainId(domain) });
    },
  );

  server.get(
    '/v1/fsck/directories',
    { schema: { tags, summary: 'Are the directories a tree?', ...ofTables } },
    async (request) => {
      await authorize(tracker, request, { scope: 'admin' });
      const { domain, ...page } = request.query;
      return fsckDirectories(db, { ...page, domainId: await domainId(domain) });
    },
  );
}
