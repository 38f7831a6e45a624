// Direct uploads: the client sends the bytes to a storage node itself, and brings back its receipt. Nothing is written
// to the database before the commit.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { validateKey } from '../../services/keys.ts';
import { Problem } from '../../services/problems.ts';
import { ReceiptSchema } from '../../services/protocol.ts';
import type { PutTicket, Receipt } from '../../services/tickets.ts';
import type { DeviceState } from '../cluster/state.ts';
import { parsePrecondition } from '../namespace/preconditions.ts';
import type { Committed, Upload } from '../namespace/types.ts';
import type { Tracker } from '../tracker.ts';
import { Placing } from '../transfer/placing.ts';
import { provenDevices } from '../transfer/receipts.ts';
import { tooLarge } from '../transfer/upload.ts';
import { authorize } from './auth.ts';
import { contentTypeFor, parseMtime, validMeta } from './file-fields.ts';
import { answerFor, sendEntry } from './naming.ts';
import { problems } from './openapi.ts';
import { ConditionHeaders, DomainPath, FileEntry, Meta, strict } from './schemas.ts';

/** Each device of a chain adds its ticket to the URL of the one before. Longer URLs than this fail in proxies. */
const MAX_URL_LENGTH = 8_000;

const tags = ['uploads'];

export function uploadRoutes(server: Server, tracker: Tracker): void {
  openRoute(server, tracker);
  commitRoute(server, tracker);
}

function openRoute(server: Server, tracker: Tracker): void {
  const { state, config } = tracker;
  server.post(
    '/v1/domains/:domain/uploads',
    {
      schema: {
        tags,
        summary: 'Open a direct upload: PUT the bytes to the URL, then commit the receipt that comes back',
        params: DomainPath,
        body: Type.Object(
          {
            key: Type.String(),
            size: Type.Integer({ minimum: 0, description: 'bytes; not one more is taken' }),
            class: Type.Optional(Type.String()),
          },
          strict,
        ),
        response: {
          201: Type.Object(
            {
              fid: Type.Integer(),
              url: Type.String({ description: 'takes one PUT, with a Content-Length' }),
              expires: Type.String({ format: 'date-time', description: 'the PUT must begin before' }),
            },
            strict,
          ),
          ...problems(
            'invalid-request',
            'invalid-key',
            'domain-not-found',
            'class-not-found',
            'body-too-large',
            'too-few-devices',
            'insufficient-storage',
          ),
        },
      },
    },
    async (request, reply) => {
      const { size, class: className } = request.body;
      const key = validateKey(request.body.key);
      const domain = await state.domain(request.params.domain);
      await authorize(tracker, request, { scope: 'write', domain, keys: [key] });
      const fileClass = state.classFor(domain, key, className);
      const limit = config.CISTERN_MAX_UPLOAD_BYTES;
      if (size > limit) throw tooLarge(limit);
      const fid = await tracker.fids.next();
      const binding = { domain: domain.name, key, class: fileClass.name };
      const order = { fid, binding, class: fileClass, max: size, length: size };
      const { places } = new Placing(tracker, order).begin();
      const exp = state.now() + config.CISTERN_TICKET_SECONDS * 1000;
      const url = chainUrl(tracker, places, { op: 'put', fid, max: size, ...binding, exp });
      return reply.code(201).send({ fid, url, expires: new Date(exp).toISOString() });
    },
  );
}

/** The first device's URL; its ticket holds the second's, and so on, for as many as a URL can carry. */
function chainUrl(
  { nodes }: Tracker,
  places: DeviceState[],
  ticket: Omit<PutTicket, 'dev' | 'next'>,
): string {
  let url = '';
  for (const device of places) {
    const next = url === '' ? {} : { next: url };
    const longer = nodes.ticketUrl(device, { ...ticket, dev: device.id, ...next });
    if (url !== '' && longer.length > MAX_URL_LENGTH) return url;
    url = longer;
  }
  return url;
}

function commitRoute(server: Server, tracker: Tracker): void {
  server.post(
    '/v1/domains/:domain/uploads/:fid/commit',
    {
      schema: {
        tags,
        summary: 'Name a direct upload; a receipt that is repeated gets the first answer',
        params: Type.Object({ domain: Type.String(), fid: Type.Integer({ minimum: 1 }) }, strict),
        headers: ConditionHeaders,
        body: Type.Object(
          {
            receipt: ReceiptSchema,
            contentType: Type.Optional(Type.String()),
            mtime: Type.Optional(Type.String({ description: 'ISO 8601 with a zone' })),
            meta: Type.Optional(Meta),
          },
          strict,
        ),
        response: {
          200: FileEntry,
          201: FileEntry,
          ...problems(
            'invalid-request',
            'receipt-refused',
            'domain-not-found',
            'class-not-found',
            'is-a-directory',
            'not-a-directory',
            'upload-void',
            'precondition-failed',
            'too-few-devices',
          ),
        },
      },
    },
    async (request, reply) => {
      const { receipt, contentType, mtime, meta } = request.body;
      const domain = await tracker.state.domain(request.params.domain);
      await authorize(tracker, request, { scope: 'write', domain, keys: [receipt.key] });
      if (receipt.fid !== request.params.fid || receipt.domain !== domain.name) {
        throw new Problem('receipt-refused', 'The receipt is for another upload.');
      }
      const precondition = parsePrecondition(request.headers);
      const devices = await provenDevices(tracker.state, tracker.keyring, receipt);
      const { key, fid, size, sha256 } = receipt;
      const upload: Upload = {
        domain,
        key: validateKey(key),
        fid,
        class: tracker.state.classFor(domain, key, receipt.class),
        size,
        sha256,
        contentType: contentTypeFor(key, contentType),
        devices: devices.map(({ id }) => id),
        ...(mtime === undefined ? {} : { mtime: parseMtime(mtime) }),
        ...(meta === undefined ? {} : { meta: validMeta(meta) }),
        ...(precondition === undefined ? {} : { precondition }),
      };
      const committed = await commitDirect(tracker, upload, { receipt, devices, requestId: request.id });
      return sendEntry(reply, domain, answerFor([committed]));
    },
  );
}

/**
 * Commits; where the receipt is of too few devices, has more copies made and commits again. The commit comes first,
 * since it knows whether this is a repeat. A refused upload keeps its bytes for a while: the receipt may come again.
 */
async function commitDirect(
  tracker: Tracker,
  upload: Upload,
  proof: { receipt: Receipt; devices: DeviceState[]; requestId: string },
): Promise<Committed> {
  try {
    return await tracker.namespace.commit(upload);
  } catch (error) {
    if (!(error instanceof Problem) || error.problem !== 'too-few-devices') throw error;
    const { fid, size, sha256, domain, key, class: fileClass } = upload;
    const placing = new Placing(tracker, {
      fid,
      binding: { domain: domain.name, key, class: fileClass.name },
      class: fileClass,
      max: size,
      length: size,
      sha256,
      requestId: proof.requestId,
    });
    for (const device of proof.devices) if (device.state !== 'dead') placing.holds(device, proof.receipt);
    await placing.complete();
    return tracker.namespace.commit({ ...upload, devices: placing.result().devices });
  }
}
