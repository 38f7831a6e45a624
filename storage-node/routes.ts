// The node's HTTP routes, as services/protocol.ts lists them. Every request needs a ticket.
import { type Static, Type } from 'typebox';
import type { Server } from '../services/http.ts';
import {
  BlobPath,
  CopyManyOrder,
  CopyOrder,
  DevicePath,
  type DeviceReport,
  type Inventory,
  InventoryQuery,
  type Verified,
} from '../services/protocol.ts';
import { addBackupRoutes } from './backups.ts';
import { storeBatch } from './batch.ts';
import { type NodeContext, permit } from './context.ts';
import { copy } from './copy.ts';
import { copyMany } from './copy-many.ts';
import { download } from './download.ts';
import { JournalQuery, sendJournal } from './journal-route.ts';
import { readMany } from './read-many.ts';
import { upload } from './upload.ts';

const TicketQuery = Type.Object({ ticket: Type.Optional(Type.String()) }, { additionalProperties: false });
const BLOB = '/devices/:dev/blobs/:fid';
const ofBlob = { params: BlobPath, querystring: TicketQuery };

export function addRoutes(server: Server, node: NodeContext): void {
  addBackupRoutes(server, node);
  // All devices of this node: what a restore begins with, when there is no database that could tell.
  server.get(
    '/devices',
    { schema: { querystring: TicketQuery } },
    async (request): Promise<DeviceReport[]> => {
      node.keyring.check('devices', (request.query as Static<typeof TicketQuery>).ticket);
      await Promise.all([...node.devices.values()].map((device) => device.look()));
      return [...node.devices.values()].map((device) => device.report());
    },
  );

  server.register(async (uploads) => {
    // The body is a stream of bytes whatever its Content-Type says; `upload` reads it.
    uploads.removeAllContentTypeParsers();
    uploads.addContentTypeParser('*', (_request, _payload, done) => done(null));
    uploads.put(BLOB, { schema: ofBlob }, (request, reply) => upload(node, request, reply));
    uploads.post('/put-many', { schema: { querystring: TicketQuery } }, (request, reply) =>
      storeBatch(node, request, reply),
    );
  });

  server.get(BLOB, { schema: ofBlob, exposeHeadRoute: false }, (request, reply) =>
    download(node, request, reply),
  );
  server.head(BLOB, { schema: ofBlob }, (request, reply) => download(node, request, reply));

  // 204, durable: the blob does not come back after a power cut. 404 replica-missing if there was none.
  server.delete(BLOB, { schema: ofBlob }, async (request, reply) => {
    const { ticket, device } = permit(node, 'delete', request);
    device.assertWritable();
    node.cache.drop(device.id, ticket.fid);
    const existed = await device.attempt('write', ticket.fid, () => device.store.delete(ticket.fid));
    // Again, for a read that began before the file was gone.
    node.cache.drop(device.id, ticket.fid);
    if (!existed) throw await device.missing(ticket.fid);
    device.changed(ticket.fid, -1);
    return reply.code(204).send();
  });

  server.post(`${BLOB}/copy`, { schema: { ...ofBlob, body: CopyOrder } }, (request, reply) =>
    copy(node, request, reply),
  );

  const many = { params: DevicePath, querystring: TicketQuery };
  server.post('/devices/:dev/copies', { schema: { ...many, body: CopyManyOrder } }, (request) =>
    copyMany(node, request),
  );
  server.get('/devices/:dev/contents', { schema: many }, (request, reply) => readMany(node, request, reply));

  // What the bytes on the disk are; the caller compares. 404 replica-missing, 500 replica-corrupt (unreadable).
  server.post(`${BLOB}/verify`, { schema: ofBlob }, async (request): Promise<Verified> => {
    const { ticket, device } = permit(node, 'verify', request);
    device.assertReadable();
    node.cache.drop(device.id, ticket.fid);
    return await device.verify(ticket.fid);
  });

  server.get(
    '/devices/:dev/journal',
    { schema: { params: DevicePath, querystring: JournalQuery } },
    (request, reply) => sendJournal(node, request, reply),
  );

  // An operator has looked at the disk: it is tried, and takes writes again if it is well.
  server.post(
    '/devices/:dev/check',
    { schema: { params: DevicePath, querystring: TicketQuery } },
    async (request, reply) => {
      const { device } = permit(node, 'check', request);
      await device.check();
      return reply.code(204).send();
    },
  );

  // Blobs in ascending order of fid; `next` is absent at the end.
  const ofDevice = { params: DevicePath, querystring: InventoryQuery };
  server.get('/devices/:dev/blobs', { schema: ofDevice }, async (request): Promise<Inventory> => {
    const { device } = permit(node, 'inventory', request);
    const { after, limit } = request.query as Static<typeof InventoryQuery>;
    const blobs = await device.attempt('list', after, () => device.store.list(after, limit));
    // The empty mount point of a disk that is gone must not pass for a disk without blobs.
    await device.look();
    device.assertReadable();
    const last = blobs.at(-1);
    return { blobs, ...(blobs.length === limit && last !== undefined ? { next: last.fid } : {}) };
  });
}
