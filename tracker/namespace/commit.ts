// Commits: bytes that nodes hold durably get their name. One statement serves all uploads that wait for it: name,
// blob, locations, and a repair if copies are missing or badly spread; what a name held before is dealt with by triggers.
import { splitKey } from '../../services/keys.ts';
import { Problem } from '../../services/problems.ts';
import type { Queryable, Statement } from '../database/database.ts';
import type { Upload } from './types.ts';

/** What became of one upload in a commit statement. */
export type Outcome =
  | 'created'
  | 'replaced'
  /** The fid is in the ledger already: the first answer is repeated. */
  | 'repeated-created'
  | 'repeated-replaced'
  | 'void'
  /** The domain is being rewound, or was just now: the same statement, sent again, sees what is there then. */
  | 'busy'
  | 'no-directory'
  | 'no-class'
  | 'too-few-hosts'
  /** A directory holds the name, or a file does and the upload is exclusive. */
  | 'conflict';

// Why this is correct, in the order of docs/consistency.md:
// - each domain is entered before anything is looked up for it (namespace/enter.ts). A rewind that ended after this
//   statement's snapshot was taken is told by `rewound`, since the snapshot may show directories of before.
// - blobs is inserted without ON CONFLICT. A fid that a concurrent statement commits or burns raises 23505, everything
//   is rolled back, and the second run finds the fid in the ledger. So a fid is committed or burned, never both.
// - ON CONFLICT on names sees the newest version of the row, not this statement's snapshot: exclusive uploads
//   ($13 lists their fids) never replace, and a directory is never replaced.
// - rows are inserted in the order of (dir, name), so that concurrent statements lock them in one order.
// - names.dir_id refers to dirs: a directory that is removed meanwhile raises 23503, and the second run sees it gone.
// - locations are only inserted for devices that exist and count: one that was removed or died since leaves no row
//   behind, nor does one whose drain no upload can be older than. What a commit in flight adds to a device that dies or
//   is drained meanwhile, the next walk finds.
// - xmax is 0 exactly for rows that this statement inserted rather than updated.
const COUNTS = `v.state <> 'dead' AND v.accepts_until > now()`;
// Its copies are in fewer zones than there are: repair puts that right when another zone can take one.
const CROWDED = `(SELECT count(DISTINCT h.zone) FROM devices v JOIN hosts h ON h.id = v.host_id
    WHERE v.id = ANY (string_to_array(i.devices, ',')::int[]) AND ${COUNTS})
  < least(i.copies, (SELECT count(DISTINCT h.zone) FROM devices v JOIN hosts h ON h.id = v.host_id WHERE v.state = 'alive'))`;
const commitUploads: Statement = {
  name: 'commit-uploads',
  text: `WITH entered AS MATERIALIZED (
      SELECT m.id, enter_domain(m.id, m.rewound) AS now FROM domains m WHERE m.id = ANY ($1::int[])
    ), item AS MATERIALIZED (
      SELECT q.*, e.now IS NOT FALSE AS entered, d.id AS dir_id, c.copies, c.min_copies, c.spread, known.state AS known,
        known.created AS known_created,
        (SELECT count(DISTINCT v.host_id) FROM devices v
          WHERE v.id = ANY (string_to_array(q.devices, ',')::int[]) AND ${COUNTS}) AS hosts
      FROM unnest($1::int[], $2::text[], $3::text[], $4::bigint[], $5::int[], $6::text[], $7::timestamptz[],
          $8::jsonb[], $9::bigint[], $10::bytea[], $11::text[], $12::int[])
        AS q (domain_id, path, name, fid, class_id, content_type, mtime, meta, size, sha256, devices, i)
      LEFT JOIN entered e ON e.id = q.domain_id
      LEFT JOIN dirs d ON d.domain_id = q.domain_id AND d.path = q.path
      LEFT JOIN classes c ON c.id = q.class_id AND c.domain_id = q.domain_id
      LEFT JOIN blobs known ON known.fid = q.fid
    ), named AS (
      INSERT INTO names (dir_id, name, fid, class_id, content_type, mtime, meta)
      SELECT dir_id, name, fid, class_id, content_type, coalesce(mtime, now()), meta FROM item
      WHERE entered AND known IS NULL AND dir_id IS NOT NULL AND hosts >= min_copies
      ORDER BY dir_id, name
      ON CONFLICT (dir_id, name) DO UPDATE SET fid = excluded.fid, class_id = excluded.class_id,
        content_type = excluded.content_type, mtime = excluded.mtime, meta = excluded.meta
        WHERE names.child_id IS NULL AND excluded.fid <> ALL ($13::bigint[])
      RETURNING fid, xmax = 0 AS created, (extract(epoch FROM mtime) * 1000)::float8 AS mtime
    ), blob AS (
      INSERT INTO blobs (fid, state, want, size, sha256, created)
      SELECT i.fid, 'live', i.copies, i.size, i.sha256, n.created FROM item i JOIN named n ON n.fid = i.fid
    ), location AS (
      INSERT INTO locations (fid, device_id)
      SELECT i.fid, v.id FROM item i JOIN named n ON n.fid = i.fid
        JOIN devices v ON v.id = ANY (string_to_array(i.devices, ',')::int[]) AND ${COUNTS}
    ), short AS (
      INSERT INTO repair (fid, copies, want, size)
      SELECT i.fid, i.hosts, i.copies, i.size FROM item i JOIN named n ON n.fid = i.fid
      WHERE i.hosts < i.copies OR CASE WHEN i.spread = 'zone' THEN ${CROWDED} ELSE false END
    )
    SELECT i.i, n.mtime, CASE
        WHEN n.fid IS NOT NULL THEN CASE WHEN n.created THEN 'created' ELSE 'replaced' END
        WHEN i.known = 'void' THEN 'void'
        WHEN i.known IS NOT NULL THEN CASE WHEN i.known_created THEN 'repeated-created' ELSE 'repeated-replaced' END
        WHEN NOT i.entered THEN 'busy'
        WHEN i.min_copies IS NULL THEN 'no-class'
        WHEN i.hosts < i.min_copies THEN 'too-few-hosts'
        WHEN i.dir_id IS NULL THEN 'no-directory'
        ELSE 'conflict' END AS outcome
    FROM item i LEFT JOIN named n ON n.fid = i.fid`,
};

export interface CommitResult {
  outcome: Outcome;
  /** The file's modification time, where it was named now. */
  mtime: Date;
}

/**
 * Runs the commit statement for uploads with distinct keys and fids, whose only precondition may be If-None-Match.
 * @returns each upload's outcome, in order
 */
export async function commitNow(db: Queryable, uploads: Upload[]): Promise<CommitResult[]> {
  const columns = uploads.map((upload) => splitKey(upload.key));
  const rows = await db.query<{ i: number; outcome: Outcome; mtime: number | null }>(commitUploads, [
    uploads.map((upload) => upload.domain.id),
    columns.map(({ path }) => path),
    columns.map(({ name }) => name),
    uploads.map((upload) => upload.fid),
    uploads.map((upload) => upload.class.id),
    uploads.map((upload) => upload.contentType),
    uploads.map((upload) => upload.mtime?.toISOString() ?? null),
    uploads.map((upload) => (upload.meta === undefined ? null : JSON.stringify(upload.meta))),
    uploads.map((upload) => upload.size),
    uploads.map((upload) => Buffer.from(upload.sha256, 'hex')),
    uploads.map((upload) => upload.devices.join(',')),
    uploads.map((_upload, i) => i),
    uploads.filter((upload) => upload.precondition?.ifNoneMatch === '*').map((upload) => upload.fid),
  ]);
  const results = new Array<CommitResult>(uploads.length);
  for (const { i, outcome, mtime } of rows) {
    results[i] = { outcome, mtime: mtime === null ? (uploads[i]?.mtime ?? new Date()) : new Date(mtime) };
  }
  return results;
}

const burnFids: Statement = {
  name: 'burn-fids',
  text: `WITH burned AS (
      INSERT INTO blobs (fid, state, want, size, sha256, created)
      SELECT fid, 'void', 0, 0, '', false FROM unnest($1::bigint[]) AS q (fid) ORDER BY fid
      ON CONFLICT DO NOTHING RETURNING fid
    )
    INSERT INTO locations (fid, device_id, state, at)
    SELECT q.fid, q.device_id, 'removing', 'epoch' FROM unnest($2::bigint[], $3::int[]) AS q (fid, device_id)
    JOIN burned b ON b.fid = q.fid`,
};

/** Burns fids that were never committed: a late commit fails, and their replicas are removed. Committed ones stay. */
export async function burnNow(db: Queryable, blobs: { fid: number; devices: number[] }[]): Promise<void> {
  const pairs = blobs.flatMap(({ fid, devices }) => devices.map((device) => ({ fid, device })));
  await db.query(burnFids, [
    blobs.map(({ fid }) => fid),
    pairs.map(({ fid }) => fid),
    pairs.map(({ device }) => device),
  ]);
}

/** The problem for an outcome that does not depend on what the key holds. */
export function problemOf(outcome: Outcome, upload: Upload): Problem {
  if (outcome === 'void') return new Problem('upload-void');
  if (outcome === 'no-class') {
    return new Problem('class-not-found', `The class '${upload.class.name}' was removed meanwhile.`);
  }
  return new Problem(
    'too-few-devices',
    `The class '${upload.class.name}' wants copies on ${upload.class.minCopies} hosts that are not dead.`,
  );
}
