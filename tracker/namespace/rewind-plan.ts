// What a rewind would change: the names of a domain at a time, worked out of names, trash and history (schema,
// history), and compared with those of now. All of it stays in the database, in tables of this transaction alone.
import type { DomainState } from '../cluster/state.ts';
import type { Queryable, Statement } from '../database/database.ts';

const PATIENCE_MS = 600_000;

/** A statement that may take minutes in a domain with millions of names; `pg` is told so. */
interface LongStatement extends Statement {
  query_timeout: number;
}

export function long(name: string, text: string): LongStatement {
  return { name: `rewind-${name}`, text, query_timeout: PATIENCE_MS };
}

// Whole tables are joined here, which the planner is told to avoid elsewhere (docs/decisions/index-plans.md).
const prepare = long(
  'prepare',
  `SELECT set_config(name, value, true) FROM (VALUES ('statement_timeout', '${PATIENCE_MS}'), ('work_mem', '64MB'),
    ('enable_seqscan', 'on'), ('enable_bitmapscan', 'on'), ('enable_hashjoin', 'on'), ('enable_mergejoin', 'on')
  ) AS s (name, value)`,
);
const createTables = [
  // Names that were closed since: what they held at the time. `trash_id` where that lies in the trash.
  long(
    'create-past',
    `CREATE TEMP TABLE rewind_past (dir_id bigint, name text COLLATE "C", child_id bigint, fid bigint, class_id integer,
      content_type text, mtime timestamptz, meta jsonb, trash_id bigint, PRIMARY KEY (dir_id, name)) ON COMMIT DROP`,
  ),
  // The directories of that time, each with the name it had. The root has none.
  long(
    'create-dirs',
    `CREATE TEMP TABLE rewind_dirs (id bigint PRIMARY KEY, path text COLLATE "C", dir_id bigint, name text COLLATE "C",
      mtime timestamptz) ON COMMIT DROP`,
  ),
  // The files that are to come back. `lost`: their bytes are gone.
  long(
    'create-files',
    `CREATE TEMP TABLE rewind_files (dir_id bigint, name text COLLATE "C", key text COLLATE "C", fid bigint,
      class_id integer, content_type text, mtime timestamptz, meta jsonb, trash_id bigint, lost boolean) ON COMMIT DROP`,
  ),
  // The names of now that are to go. `attached`: not in a tree that was removed and waits to be purged.
  long(
    'create-gone',
    `CREATE TEMP TABLE rewind_gone (dir_id bigint, name text COLLATE "C", key text COLLATE "C", is_file boolean,
      attached boolean) ON COMMIT DROP`,
  ),
  long(
    'create-changes',
    `CREATE TEMP TABLE rewind_changes (kind text, change text, key text COLLATE "C", "to" text COLLATE "C") ON COMMIT DROP`,
  ),
];

// Of two versions that hold a name at one time, since their transactions overlapped, the one that ended first was
// there first.
const fillPast = long(
  'fill-past',
  `INSERT INTO rewind_past
    SELECT DISTINCT ON (dir_id, name) dir_id, name, child_id, fid, class_id, content_type, mtime, meta, trash_id FROM (
      SELECT dir_id, name, child_id, fid, class_id, content_type, mtime, meta, NULL::bigint AS trash_id, since, until
      FROM history WHERE domain_id = $1 AND dir_id <> 0 AND since <= $2::timestamptz AND until > $2::timestamptz
      UNION ALL
      SELECT dir_id, substring(key FROM '[^/]*$'), NULL, fid, class_id, content_type, mtime, meta, id, since, at
      FROM trash WHERE domain_id = $1 AND dir_id IS NOT NULL AND since <= $2::timestamptz AND at > $2::timestamptz
    ) closed ORDER BY dir_id, name, until, since`,
);
// From the root of that time downwards: what cannot be reached from there was not in the tree.
const fillDirs = long(
  'fill-dirs',
  `INSERT INTO rewind_dirs
    WITH RECURSIVE place AS MATERIALIZED (
      SELECT DISTINCT ON (child_id) * FROM (
        SELECT dir_id, name, child_id, mtime, true AS closed FROM rewind_past WHERE child_id IS NOT NULL
        UNION ALL
        SELECT n.dir_id, n.name, n.child_id, n.mtime, false FROM dirs d JOIN names n ON n.child_id = d.id
        WHERE d.domain_id = $1 AND n.since <= $2::timestamptz
          AND NOT EXISTS (SELECT FROM rewind_past p WHERE p.dir_id = n.dir_id AND p.name = n.name)
      ) named ORDER BY child_id, closed
    ), tree AS (
      SELECT coalesce(
          (SELECT child_id FROM history WHERE domain_id = $1 AND dir_id = 0 AND until > $2::timestamptz
            ORDER BY until, id LIMIT 1),
          (SELECT id FROM dirs WHERE domain_id = $1 AND path = '')) AS id,
        '' COLLATE "C" AS path, NULL::bigint AS dir_id, NULL COLLATE "C" AS name, NULL::timestamptz AS mtime
      UNION ALL
      SELECT p.child_id, t.path || p.name || '/', p.dir_id, p.name, p.mtime FROM tree t JOIN place p ON p.dir_id = t.id
    )
    SELECT * FROM tree`,
);
const fillFiles = long(
  'fill-files',
  `INSERT INTO rewind_files
    SELECT p.dir_id, p.name, d.path || p.name, p.fid, p.class_id, p.content_type, p.mtime, p.meta, p.trash_id,
      NOT EXISTS (SELECT FROM blobs b WHERE b.fid = p.fid AND b.state = 'live')
    FROM rewind_past p JOIN rewind_dirs d ON d.id = p.dir_id WHERE p.fid IS NOT NULL`,
);
const fillGone = long(
  'fill-gone',
  `INSERT INTO rewind_gone
    SELECT n.dir_id, n.name, d.path || n.name, n.fid IS NOT NULL, NOT (d.path >= '/' AND d.path < '0')
    FROM dirs d JOIN names n ON n.dir_id = d.id
      LEFT JOIN rewind_dirs w ON w.id = d.id
      LEFT JOIN rewind_past p ON p.dir_id = n.dir_id AND p.name = n.name
      LEFT JOIN rewind_dirs child ON child.id = n.child_id
    WHERE d.domain_id = $1 AND CASE WHEN w.id IS NULL
      THEN NOT (d.path >= '/' AND d.path < '0') OR child.id IS NOT NULL
      ELSE n.since > $2::timestamptz OR p.dir_id IS NOT NULL END`,
);
// What was changed and changed back.
const dropSame = long(
  'drop-same',
  `WITH same AS (
      DELETE FROM rewind_gone g USING names n, rewind_past p, rewind_dirs d
      WHERE n.dir_id = g.dir_id AND n.name = g.name AND p.dir_id = g.dir_id AND p.name = g.name AND d.id = g.dir_id
        AND (n.child_id, n.fid, n.class_id, n.content_type, n.mtime, n.meta)
          IS NOT DISTINCT FROM (p.child_id, p.fid, p.class_id, p.content_type, p.mtime, p.meta)
      RETURNING g.dir_id, g.name
    )
    DELETE FROM rewind_files f USING same s WHERE f.dir_id = s.dir_id AND f.name = s.name`,
);
const analyze = long('analyze', 'ANALYZE rewind_past, rewind_dirs, rewind_files, rewind_gone');

// By keys, as clients see them. Names in a removed tree that is not purged yet come back with the tree.
const fillChangesOfFiles = long(
  'fill-changes-of-files',
  `INSERT INTO rewind_changes
    SELECT 'file', CASE WHEN was.key IS NULL THEN 'remove' WHEN was.lost THEN 'lost' WHEN now.key IS NULL THEN 'restore'
      ELSE 'replace' END, coalesce(was.key, now.key), NULL
    FROM (
      SELECT key, lost FROM rewind_files
      UNION ALL
      SELECT w.path || n.name, false FROM dirs d JOIN rewind_dirs w ON w.id = d.id JOIN names n ON n.dir_id = d.id
      WHERE d.domain_id = $1 AND d.path >= '/' AND d.path < '0' AND n.fid IS NOT NULL
        AND NOT EXISTS (SELECT FROM rewind_gone g WHERE g.dir_id = n.dir_id AND g.name = n.name)
    ) AS was
    FULL JOIN (SELECT key FROM rewind_gone WHERE is_file AND attached) AS now ON now.key = was.key`,
);
// A directory that was moved is one change, whatever lies below.
const fillChangesOfDirs = long(
  'fill-changes-of-dirs',
  `INSERT INTO rewind_changes
    WITH now AS MATERIALIZED (
      SELECT d.id, d.path, n.dir_id, n.name FROM dirs d LEFT JOIN names n ON n.child_id = d.id
      WHERE d.domain_id = $1 AND NOT (d.path >= '/' AND d.path < '0')
    )
    SELECT 'directory', 'move', rtrim(now.path, '/'), rtrim(w.path, '/') FROM now JOIN rewind_dirs w ON w.id = now.id
    WHERE (w.dir_id, w.name) IS DISTINCT FROM (now.dir_id, now.name) AND w.path <> now.path
    UNION ALL
    SELECT 'directory', CASE WHEN was.path IS NULL THEN 'remove' ELSE 'restore' END,
      rtrim(coalesce(was.path, now.path), '/'), NULL
    FROM (SELECT path FROM now WHERE NOT EXISTS (SELECT FROM rewind_dirs w WHERE w.id = now.id)) AS now
      FULL JOIN (SELECT path FROM rewind_dirs w WHERE NOT EXISTS (SELECT FROM now WHERE now.id = w.id)) AS was
      ON was.path = now.path
    WHERE was.path IS NULL OR now.path IS NULL`,
);
const countChanges = long(
  'count-changes',
  'SELECT kind, change, count(*)::int AS count FROM rewind_changes GROUP BY kind, change',
);
const listChanges = long(
  'list-changes',
  `SELECT kind, change, key, "to" FROM rewind_changes ORDER BY change <> 'lost', key, kind LIMIT $1`,
);

export interface RewindChange {
  kind: 'file' | 'directory';
  /** `lost`: a file whose bytes are gone. Its name is not there afterwards. */
  change: 'remove' | 'restore' | 'replace' | 'lost' | 'move';
  key: string;
  /** Where a directory is moved to. */
  to?: string;
}

export interface RewindCounts {
  removed: number;
  restored: number;
  replaced: number;
  lost: number;
  directoriesRemoved: number;
  directoriesRestored: number;
  directoriesMoved: number;
}

/** Works out what has to change in `domain` for its names to be what they were at `target`. */
export async function planRewind(tx: Queryable, domain: DomainState, target: string): Promise<void> {
  await tx.query(prepare);
  for (const create of createTables) await tx.query(create);
  await tx.query(fillPast, [domain.id, target]);
  await tx.query(fillDirs, [domain.id, target]);
  await tx.query(fillFiles);
  await tx.query(fillGone, [domain.id, target]);
  await tx.query(analyze);
  await tx.query(dropSame);
}

/** Counts the changes that were planned, and lists up to `limit` of them: what is lost first, then by key. */
export async function describePlan(
  tx: Queryable,
  domain: DomainState,
  limit: number,
): Promise<{ counts: RewindCounts; changes: RewindChange[] }> {
  await tx.query(fillChangesOfFiles, [domain.id]);
  await tx.query(fillChangesOfDirs, [domain.id]);
  const rows = await tx.query<{ kind: string; change: string; count: number }>(countChanges);
  const count = (kind: string, change: string) =>
    rows.find((row) => row.kind === kind && row.change === change)?.count ?? 0;
  const listed = await tx.query<RewindChange & { to: string | null }>(listChanges, [limit]);
  return {
    counts: {
      removed: count('file', 'remove'),
      restored: count('file', 'restore'),
      replaced: count('file', 'replace'),
      lost: count('file', 'lost'),
      directoriesRemoved: count('directory', 'remove'),
      directoriesRestored: count('directory', 'restore'),
      directoriesMoved: count('directory', 'move'),
    },
    changes: listed.map(({ to, ...change }) => (to === null ? change : { ...change, to })),
  };
}
