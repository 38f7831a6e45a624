// Repair: what is short and why, and the scan that finds it. Scope admin.
import { Type } from 'typebox';
import type { Server } from '../../services/http.ts';
import { queuedFiles, repairSummary, stuckRepairs } from '../replication/summary.ts';
import type { Tracker } from '../tracker.ts';
import { authorize } from './auth.ts';
import { problems } from './openapi.ts';

const strict = { additionalProperties: false };
const Count = Type.Integer({ minimum: 0 });
const After = Type.Integer({ minimum: 0, default: 0, description: 'begin after this fid' });
const queuedFile = {
  fid: Type.Integer(),
  domain: Type.Union([Type.String(), Type.Null()]),
  key: Type.Union([Type.String(), Type.Null()], { description: 'one of its keys, or that in the trash' }),
  copies: Type.Integer({ description: 'hosts with a good copy' }),
  want: Type.Integer({ description: 'hosts that shall have one' }),
  why: Type.String({ description: 'why it still waits' }),
};
const Summary = Type.Object(
  {
    queued: Count,
    underReplicated: Count,
    withoutCopy: Count,
    oldest: Type.Union([Type.String({ format: 'date-time' }), Type.Null()]),
    removing: Count,
    reaping: Count,
    stuck: Type.Array(Type.Object({ ...queuedFile, attempts: Count }, strict)),
  },
  strict,
);
const ScanOrder = Type.Object(
  {
    after: After,
    limit: Type.Integer({ minimum: 1, maximum: 10_000, default: 10_000, description: 'blobs to look at' }),
    domain: Type.Optional(Type.String({ description: 'look only at files of this domain' })),
  },
  strict,
);
const Scanned = Type.Object(
  {
    scanned: Count,
    bytes: Count,
    queued: Count,
    next: Type.Optional(Type.Integer({ description: 'scan again after this fid; absent at the end' })),
  },
  strict,
);
const Page = Type.Object(
  { after: After, limit: Type.Integer({ minimum: 1, maximum: 1_000, default: 1_000 }) },
  strict,
);
const Missing = Type.Object(
  { files: Type.Array(Type.Object(queuedFile, strict)), next: Type.Optional(Type.Integer()) },
  strict,
);
const tags = ['operation'];

export function repairRoutes(server: Server, tracker: Tracker): void {
  const { db, state, replication } = tracker;

  server.get(
    '/v1/repair',
    {
      schema: {
        tags,
        summary: 'What lacks copies, and why the worst of it waits',
        response: { 200: Summary, ...problems() },
      },
    },
    async (request) => {
      await authorize(tracker, request, { scope: 'admin' });
      const [summary, stuck] = await Promise.all([repairSummary(db), stuckRepairs(db)]);
      return { ...summary, oldest: summary.oldest?.toISOString() ?? null, stuck };
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
        response: { 200: Scanned, ...problems('invalid-request', 'domain-not-found') },
      },
    },
    async (request) => {
      const { after, limit, domain: name } = request.body;
      await authorize(tracker, request, { scope: 'admin' });
      const domain = name === undefined ? undefined : await state.domain(name);
      // What this answer calls well must be so now, not as of the last look at the cluster.
      await state.refresh();
      return replication.scan(after, limit, domain?.id);
    },
  );

  server.get(
    '/v1/repair/missing',
    {
      schema: {
        tags,
        summary: 'Every file that waits for repair, by fid',
        querystring: Page,
        response: { 200: Missing, ...problems('invalid-request') },
      },
    },
    async (request) => {
      const { after, limit } = request.query;
      await authorize(tracker, request, { scope: 'admin' });
      const files = await queuedFiles(db, after, limit);
      const last = files.at(-1)?.fid;
      return { files, ...(files.length === limit && last !== undefined ? { next: last } : {}) };
    },
  );
}
