// Backups of the cluster's database, which trackers keep on the devices beside the blobs: durable before they are
// acknowledged, never overwritten. A file's name here is the backup's with the digest of what was stored.
import { createHash, randomUUID } from 'node:crypto';
import { linkSync, readdirSync } from 'node:fs';
import { open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { Type } from 'typebox';
import { announcedDigest } from '../services/digests.ts';
import { failPoint } from '../services/fail-points.ts';
import { type FastifyReply, type FastifyRequest, failUnlessAnswered, type Server } from '../services/http.ts';
import { Problem } from '../services/problems.ts';
import { BACKUP_NAME, type Backup, type Backups, DevicePath } from '../services/protocol.ts';
import { announcedLength, flow, tooLarge } from './body.ts';
import { deviceOf, type NodeContext } from './context.ts';
import type { Device } from './device.ts';
import { assertOnDisk } from './ground.ts';
import { readPieces, writeFully } from './pieces.ts';
import { refuseMismatch, reserve } from './upload.ts';

const DIRECTORY = 'backups';
const TEMPORARY = 'tmp';

const TicketQuery = Type.Object({ ticket: Type.Optional(Type.String()) }, { additionalProperties: false });
const BackupPath = Type.Object(
  { ...DevicePath.properties, name: Type.String({ pattern: BACKUP_NAME }) },
  { additionalProperties: false },
);
const ofDevice = { params: DevicePath, querystring: TicketQuery };
const ofBackup = { params: BackupPath, querystring: TicketQuery };
const ONE = '/devices/:dev/backups/:name';

export function addBackupRoutes(server: Server, node: NodeContext): void {
  server.register(async (uploads) => {
    uploads.removeAllContentTypeParsers();
    uploads.addContentTypeParser('*', (_request, _payload, done) => done(null));
    uploads.put(ONE, { schema: ofBackup }, (request, reply) => storeBackup(node, request, reply));
  });

  server.get('/devices/:dev/backups', { schema: ofDevice }, async (request): Promise<Backups> => {
    const { device } = permitBackup(node, request);
    device.assertReadable();
    const backups = await device.attempt('list', 0, () => list(device));
    await device.look();
    device.assertReadable();
    return { backups };
  });

  server.get(ONE, { schema: ofBackup }, (request, reply) => sendBackup(node, request, reply));

  server.delete(ONE, { schema: ofBackup }, async (request, reply) => {
    const { device, name } = permitBackup(node, request);
    device.assertWritable();
    const backup = await find(device, name);
    await device.attempt('write', 0, async () => {
      await rm(pathOf(device, backup), { force: true });
      await device.ground.directories.sync(DIRECTORY);
    });
    return reply.code(204).send();
  });
}

/** @throws Problem ticket-refused, device-unavailable */
function permitBackup(node: NodeContext, request: FastifyRequest) {
  const { dev, name = '' } = request.params as { dev: number; name?: string };
  const ticket = node.keyring.check('backup', (request.query as { ticket?: string }).ticket);
  if (ticket.dev !== dev || (ticket.name ?? '') !== name) {
    throw new Problem('ticket-refused', 'The ticket is for another backup or device.');
  }
  return { ticket, name, device: deviceOf(node, dev) };
}

/**
 * Answers 201 with the Backup, or 200 if the same bytes were there under this name.
 * @throws Problem ticket-refused, device-unavailable, body-too-large, insufficient-storage, truncated-body,
 *   digest-mismatch, already-exists (with other bytes); nothing is kept then
 */
async function storeBackup(node: NodeContext, request: FastifyRequest, reply: FastifyReply) {
  try {
    const { device, ticket, name } = permitBackup(node, request);
    device.assertWritable();
    const { max } = ticket;
    if (max === undefined)
      throw new Problem('ticket-refused', 'The ticket does not permit to store a backup.');
    const length = announcedLength(request);
    if (length !== undefined && length > max) throw tooLarge(max);
    const bound = length ?? max;
    const space = await reserve(device, bound);
    try {
      const body = flow(request, bound, (chunk) => space.used(chunk.length));
      const expected = announcedDigest(request.headers);
      const { backup, existed } = await device.attempt('write', 0, () => write(device, name, body, expected));
      device.assertWritable();
      return reply.code(existed ? 200 : 201).send(backup);
    } finally {
      space.release();
    }
  } catch (error) {
    return failUnlessAnswered(reply, error);
  }
}

async function write(
  device: Device,
  name: string,
  body: AsyncIterable<Buffer>,
  expected: string | undefined,
): Promise<{ backup: Backup; existed: boolean }> {
  const { ground, path: root } = device;
  await ground.directories.ensure(DIRECTORY);
  // Among the unfinished blobs, so that what a crash leaves is removed at the next start.
  const unfinished = join(root, TEMPORARY, `backup.${randomUUID()}`);
  const file = await open(unfinished, 'wx', 0o640);
  try {
    assertOnDisk(ground, file.fd);
    const digest = createHash('sha256');
    let size = 0;
    for await (const chunk of body) {
      digest.update(chunk);
      size += chunk.length;
      await writeFully(file.fd, chunk);
    }
    const backup: Backup = { name, size, sha256: digest.digest('hex'), at: Date.now() };
    refuseMismatch(backup, expected);
    await file.datasync();
    // Plain calls, with nothing in between: of two at once the second finds the first.
    const present = readdirSync(join(root, DIRECTORY)).find((other) => other.startsWith(`${name}~`));
    failPoint('backup-written');
    if (present === undefined) linkSync(unfinished, pathOf(device, backup));
    else if (join(root, DIRECTORY, present) !== pathOf(device, backup)) {
      throw new Problem('already-exists', `Device ${device.id} has another backup '${name}'.`);
    }
    failPoint('backup-linked');
    await ground.directories.sync(DIRECTORY);
    return { backup, existed: present !== undefined };
  } finally {
    await file.close();
    await rm(unfinished, { force: true });
  }
}

/** The bytes, held back by a piece until the digest is known to be right: a bad backup never comes to its end. */
async function sendBackup(node: NodeContext, request: FastifyRequest, reply: FastifyReply) {
  const { device, name } = permitBackup(node, request);
  device.assertReadable();
  const backup = await find(device, name);
  async function* verified() {
    const file = await open(pathOf(device, backup), 'r');
    try {
      const digest = createHash('sha256');
      let held: Buffer | undefined;
      for await (const piece of readPieces(file.fd, { start: 0, end: backup.size - 1 })) {
        if (held !== undefined) yield held;
        digest.update(piece);
        held = piece;
      }
      if (digest.digest('hex') !== backup.sha256)
        throw new Problem('replica-corrupt', `Device ${device.id} holds backup '${name}' with wrong bytes.`);
      if (held !== undefined) yield held;
    } finally {
      await file.close();
    }
  }
  return reply
    .headers({ 'content-type': 'application/octet-stream', 'content-length': String(backup.size) })
    .send(Readable.from(verified(), { objectMode: false }));
}

/** @throws Problem not-found */
async function find(device: Device, name: string): Promise<Backup> {
  const backup = (await device.attempt('list', 0, () => list(device))).find((one) => one.name === name);
  if (backup !== undefined) return backup;
  await device.look();
  device.assertReadable();
  throw new Problem('not-found', `Device ${device.id} has no backup '${name}'.`);
}

/** The backups on a device, by name. */
async function list(device: Device): Promise<Backup[]> {
  const directory = join(device.path, DIRECTORY);
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const backups = names.sort().map(async (file) => {
    const [, name, sha256] = /^([a-z0-9._-]+)~([0-9a-f]{64})$/.exec(file) ?? [];
    if (name === undefined || sha256 === undefined) return [];
    const { size, mtimeMs } = await stat(join(directory, file));
    return [{ name, size, sha256, at: Math.floor(mtimeMs) }];
  });
  return (await Promise.all(backups)).flat();
}

function pathOf(device: Device, { name, sha256 }: Backup): string {
  return join(device.path, DIRECTORY, `${name}~${sha256}`);
}
