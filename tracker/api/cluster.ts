// What storage nodes call: registration and heartbeats (services/protocol.ts). They bring a ticket of their own, signed
// with the cluster's key.
import type { FastifyRequest, Server } from '../../services/http.ts';
import { Problem } from '../../services/problems.ts';
import {
  BlobAnswer,
  BlobQuestion,
  type Finding,
  Heartbeat,
  HeartbeatAnswer,
  Registered,
  Registration,
} from '../../services/protocol.ts';
import { register, saveBeat } from '../cluster/registration.ts';
import { describeBlobs } from '../replication/describe.ts';
import type { Tracker } from '../tracker.ts';
import { bearerToken } from './auth.ts';
import { problems } from './openapi.ts';

export function clusterRoutes(server: Server, tracker: Tracker): void {
  const { state, db, config } = tracker;
  const tags = ['cluster'];
  const security = [{ ticket: [] }];

  server.post(
    '/v1/cluster/register',
    {
      schema: {
        tags,
        security,
        summary: 'A storage node starts: who it is, and which devices it has',
        body: Registration,
        response: { 200: Registered, ...problems('invalid-request', 'ticket-refused', 'already-exists') },
      },
    },
    async (request) => {
      const registration = request.body;
      checkTicket(tracker, request, registration.host);
      const devices = await register(db, registration, config.CISTERN_DOWN_SECONDS);
      logVerdicts(tracker, registration, devices);
      await state.refresh();
      return { cluster: state.clusterId, devices };
    },
  );

  server.post(
    '/v1/cluster/heartbeat',
    {
      schema: {
        tags,
        security,
        summary: 'A storage node lives: how its devices are, and which replicas it found to be bad',
        body: Heartbeat,
        response: { 200: HeartbeatAnswer, ...problems('invalid-request', 'ticket-refused') },
      },
    },
    async (request) => {
      const beat = request.body;
      checkTicket(tracker, request, beat.host);
      const clock = await saveBeat(db, beat);
      if (clock === undefined) return { cluster: state.clusterId, register: true, clock: state.now() };
      void takeFindings(tracker, beat.host, beat.findings);
      return { cluster: state.clusterId, register: false, clock };
    },
  );

  server.post(
    '/v1/cluster/blobs',
    {
      schema: {
        tags,
        security,
        summary: 'A storage node asks what blobs that it holds should be',
        body: BlobQuestion,
        response: { 200: BlobAnswer, ...problems('invalid-request', 'ticket-refused') },
      },
    },
    async (request) => {
      const { host, fids } = request.body;
      checkTicket(tracker, request, host);
      return { blobs: await describeBlobs(db, fids) };
    },
  );
}

/** The ticket must be a node's, and of the very host that the body speaks of. */
function checkTicket({ keyring, state }: Tracker, request: FastifyRequest, host: string): void {
  const ticket = keyring.check('node', bearerToken(request), state.now());
  if (ticket.host !== host) {
    throw new Problem('ticket-refused', `The ticket is host ${ticket.host}'s, not ${host}'s.`);
  }
}

/** A registration that only asks for markers to be written is followed by another at once, so it is not worth a line. */
function logVerdicts({ log }: Tracker, { host, url }: Registration, devices: Registered['devices']): void {
  const refused = devices.filter((device) => device.verdict === 'refused');
  const accepted = devices.flatMap((device) => (device.verdict === 'accepted' ? [device.id] : []));
  if (refused.length > 0) log.warn({ host, url, accepted, refused }, 'host registered, devices refused');
  else if (accepted.length === devices.length) log.info({ host, url, accepted }, 'host registered');
}

/** Not waited for: looking at a large replica again takes longer than a heartbeat may. Reads find again what is lost. */
async function takeFindings({ state, replication, log }: Tracker, host: string, findings: Finding[]) {
  for (const { dev, fid, kind } of findings) {
    // A node speaks for its own devices only.
    if (state.device(dev)?.host.name !== host) continue;
    try {
      await replication.reportBad(fid, dev, kind);
    } catch (err) {
      log.warn({ err, host, dev, fid, kind }, 'a bad replica could not be reported');
    }
  }
}
