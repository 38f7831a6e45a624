// GET …/journal: what a device has on record about the blobs that it holds, for who has to find names without a database.
import { Readable } from 'node:stream';
import { type Static, Type } from 'typebox';
import type { FastifyReply, FastifyRequest } from '../services/http.ts';
import type { JournalEntry } from '../services/protocol.ts';
import { type NodeContext, permit } from './context.ts';
import type { Device } from './device.ts';

export const JournalQuery = Type.Object(
  {
    ticket: Type.Optional(Type.String()),
    after: Type.Integer({ minimum: 0, default: 0, description: 'of blobs with fids above this one' }),
  },
  { additionalProperties: false },
);

/**
 * A JSON object a line, for each blob that is there and has a record, in ascending order of fid. The connection is cut if
 * the disk fails, so that a part never passes for the whole.
 * @throws Problem ticket-refused, device-unavailable
 */
export async function sendJournal(node: NodeContext, request: FastifyRequest, reply: FastifyReply) {
  const { device } = permit(node, 'journal', request);
  const { after } = request.query as Static<typeof JournalQuery>;
  device.assertReadable();
  return reply
    .header('content-type', 'application/x-ndjson')
    .send(Readable.from(lines(device, after), { objectMode: false }));
}

async function* lines(device: Device, after: number): AsyncGenerator<string> {
  try {
    for await (const { fid, domain, key, class: className, size, sha256, at } of device.journal.records(
      after,
    )) {
      const entry = { fid, domain, key, class: className, size, sha256, at } as JournalEntry;
      yield `${JSON.stringify(entry)}\n`;
    }
  } catch (error) {
    throw await device.explain('list', after, error);
  }
  // The empty mount point of a disk that is gone must not pass for a disk without blobs.
  await device.look();
  device.assertReadable();
}
