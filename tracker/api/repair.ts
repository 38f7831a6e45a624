// Repair: what is short and why, the looks that find it, and how fast it may be mended. Scope admin.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { Problem } from '../../services/problems.ts';
import type { Selection } from '../replication/selection.ts';
import { queuedFiles, repairSummary, stuckRepairs } from '../replication/summary.ts';
import { repairLimit, setRepairLimit } from '../replication/throttle.ts';
import type { Tracker } from '../tracker.ts';
import { authorize } from './auth.ts';
import { problems } from './openapi.ts';

const strict = { additionalProperties: false };
const Count = Type.Integer({ minimum: 0 });
const After = Type.Integer({ minimum: 0, default: 0, description: 'begin after this fid' });
const Next = Type.Optional(Type.Integer({ description: 'ask again after this fid; absent at the end' }));
const Text = Type.Union([Type.String(), Type.Null()]);
const selection = {
  domain: Type.Optional(Type.String({ description: 'files of this domain' })),
  class: Type.Optional(Type.String({ description: 'files of classes of this name' })),
  prefix: Type.Optional(Type.String({ description: 'files whose keys begin so; wants a domain' })),
  device: Type.Optional(Type.Integer({ minimum: 1, description: 'files with a replica on this device' })),
};
const Query = Type.Object(selection, strict);
const queuedFile = {
  fid: Type.Integer(),
  domain: Text,
  key: Type.Union([Type.String(), Type.Null()], { description: 'one of its keys, or that in the trash' }),
  copies: Type.Integer({ description: 'hosts with a good copy' }),
  want: Type.Integer({ description: 'hosts that shall have one' }),
  why: Type.String({ description: 'why it still waits' }),
};
const Files = Type.Array(Type.Object(queuedFile, strict));
const BytesPerSecond = Type.Union([Type.Integer({ minimum: 0 }), Type.Null()], {
  description: 'for all trackers together; 0: any, null: as their setting says',
});
const Summary = Type.Object(
  {
    queued: Count,
    underReplicated: Count,
    withoutCopy: Count,
    bytes: Type.Integer({ description: 'of the files that are below their copies' }),
    oldest: Type.Union([Type.String({ format: 'date-time' }), Type.Null()]),
    removing: Count,
    reaping: Count,
    bytesPerSecond: BytesPerSecond,
    stuck: Type.Array(Type.Object({ ...queuedFile, attempts: Count }, strict)),
  },
  strict,
);
const Limit = Type.Object({ bytesPerSecond: BytesPerSecond }, strict);
const OnlyLook = Type.Boolean({ default: false, description: 'queue nothing, but name what would be' });
const ScanOrder = Type.Object(
  {
    after: After,
    limit: Type.Integer({ minimum: 1, maximum: 10_000, default: 10_000, description: 'blobs to look at' }),
    ...selection,
    onlyLook: OnlyLook,
  },
  strict,
);
const Scanned = Type.Object(
  { scanned: Count, bytes: Count, queued: Count, files: Type.Optional(Files), next: Next },
  strict,
);
const VerifyOrder = Type.Object({ after: After, ...selection, onlyLook: OnlyLook }, strict);
const Verified = Type.Object(
  {
    verified: Type.Integer({ description: 'replicas that were read' }),
    bytes: Count,
    bad: Type.Array(
      Type.Object(
        { fid: Type.Integer(), device: Type.Integer(), domain: Text, key: Text, what: Type.String() },
        strict,
      ),
    ),
    away: Type.Array(Type.Object({ device: Type.Integer(), why: Type.String() }, strict), {
      description: 'devices whose replicas could not be read',
    }),
    next: Next,
  },
  strict,
);
const Page = Type.Object(
  {
    after: After,
    limit: Type.Integer({ minimum: 1, maximum: 1_000, default: 1_000 }),
    ...selection,
  },
  strict,
);
const Missing = Type.Object({ files: Files, next: Next }, strict);
const tags = ['operation'];
const wrong = problems('invalid-request', 'domain-not-found', 'not-found', 'state-conflict');

export function repairRoutes(server: Server, tracker: Tracker): void {
  const { db, state, replication } = tracker;

  server.get(
    '/v1/repair',
    {
      schema: {
        tags,
        summary: 'What lacks copies, and why the worst of it waits',
        querystring: Query,
        response: { 200: Summary, ...wrong },
      },
    },
    async (request) => {
      await authorize(tracker, request, { scope: 'admin' });
      const chosen = await selectionOf(tracker, request.query);
      const [summary, stuck, bytesPerSecond] = await Promise.all([
        repairSummary(db, chosen),
        stuckRepairs(db, chosen),
        repairLimit(db),
      ]);
      return { ...summary, oldest: summary.oldest?.toISOString() ?? null, bytesPerSecond, stuck };
    },
  );

  server.patch(
    '/v1/repair',
    {
      schema: {
        tags,
        summary: 'Say how much may be copied for repairs, from now on',
        body: Limit,
        response: { 200: Limit, ...problems('invalid-request') },
      },
    },
    async (request) => {
      await authorize(tracker, request, { scope: 'admin' });
      await setRepairLimit(db, request.body.bytesPerSecond);
      return request.body;
    },
  );

  server.post(
    '/v1/repair/scan',
    {
      schema: {
        tags,
        summary:
          'Compare the copies of some files with what their classes want, and queue those that lack some',
        body: ScanOrder,
        response: { 200: Scanned, ...wrong },
      },
    },
    async (request) => {
      const { after, limit, onlyLook, ...chosen } = request.body;
      await authorize(tracker, request, { scope: 'admin' });
      const order = { after, limit, onlyLook, selection: await selectionOf(tracker, chosen) };
      // What this answer calls well must be so now, not as of the last look at the cluster.
      await state.refresh();
      return replication.scan(order);
    },
  );

  server.post(
    '/v1/repair/verify',
    {
      schema: {
        tags,
        summary: 'Have the storage nodes read some files again, and queue what is bad',
        body: VerifyOrder,
        response: { 200: Verified, ...wrong },
      },
    },
    async (request) => {
      const { after, onlyLook, ...chosen } = request.body;
      await authorize(tracker, request, { scope: 'admin' });
      return replication.verify(after, await selectionOf(tracker, chosen), onlyLook);
    },
  );

  server.get(
    '/v1/repair/missing',
    {
      schema: {
        tags,
        summary: 'Every file that waits for repair, by fid',
        querystring: Page,
        response: { 200: Missing, ...wrong },
      },
    },
    async (request) => {
      const { after, limit, ...chosen } = request.query;
      await authorize(tracker, request, { scope: 'admin' });
      const files = await queuedFiles(db, after, limit, await selectionOf(tracker, chosen));
      const last = files.at(-1)?.fid;
      return { files, ...(files.length === limit && last !== undefined ? { next: last } : {}) };
    },
  );
}

interface Chosen {
  domain?: string;
  class?: string;
  prefix?: string;
  device?: number;
}

/**
 * The files that a request means.
 * @throws Problem domain-not-found, not-found (device), state-conflict (a dead device), invalid-request
 */
async function selectionOf({ state }: Tracker, { domain, ...chosen }: Chosen): Promise<Selection> {
  const { device: id, prefix } = chosen;
  if (prefix !== undefined && domain === undefined) {
    throw new Problem('invalid-request', 'A prefix wants a domain.');
  }
  if (id !== undefined) {
    const device = state.device(id);
    if (device === undefined) throw new Problem('not-found', `There is no device ${id}.`);
    if (device.state === 'dead') {
      throw new Problem(
        'state-conflict',
        `Device ${id} is dead: what it held is queued and no longer known by its device. Repair all files.`,
      );
    }
  }
  return domain === undefined ? chosen : { ...chosen, domainId: (await state.domain(domain)).id };
}
