// Listings, page by page: one level, or all below a directory. A page costs what it returns, not what lies below.
import { Problem } from '../../services/problems.ts';
import type { ClusterState, DomainState } from '../cluster/state.ts';
import type { Queryable, Statement } from '../database/database.ts';
import { endOfPath } from './directories.ts';
import { FOUND_COLUMNS, foundFrom } from './find.ts';
import type { Found } from './types.ts';

export interface Page {
  entries: Found[];
  /** Where the next page begins; absent at the end. */
  next?: string;
}

type FoundRow = Parameters<typeof foundFrom>[2];

const listLevel: Statement = {
  name: 'list-level',
  text: `SELECT n.name, ${FOUND_COLUMNS} FROM names n LEFT JOIN blobs b ON b.fid = n.fid
    WHERE n.dir_id = $1 AND n.name > $2 ORDER BY n.name LIMIT $3`,
};

/** One level: files and directories by name in byte order, after the name in `cursor`. */
export async function listOneLevel(
  db: Queryable,
  state: ClusterState,
  directory: { id: number; path: string },
  options: { limit: number; cursor?: string },
): Promise<Page> {
  const [after = ''] = options.cursor === undefined ? [] : readCursor(options.cursor, 1);
  const rows = await db.query<FoundRow & { name: string }>(listLevel, [
    directory.id,
    after,
    options.limit + 1,
  ]);
  const shown = rows.slice(0, options.limit);
  const entries = await Promise.all(shown.map((row) => foundFrom(state, directory.path + row.name, row)));
  const last = shown.at(-1);
  return rows.length > shown.length && last ? { entries, next: makeCursor([last.name]) } : { entries };
}

// Directory by directory: the lateral join stops as soon as the page is full. Detached trees ('/<id>/') are not below
// anything. $4 is the listed directory itself, $5 and $6 the directory and name that the last page ended with.
const listBelow: Statement = {
  name: 'list-below',
  text: `SELECT d.path, e.name, e.fid, e.class_id, e.content_type, e.mtime, e.meta, e.size, e.sha256
    FROM (SELECT id, path FROM dirs WHERE domain_id = $1 AND path >= $2 AND (path < $3 OR $3 IS NULL)
        AND NOT (path >= '/' AND path < '0') ORDER BY path) d
    CROSS JOIN LATERAL (
      SELECT * FROM (
        SELECT '' AS name, NULL::bigint AS fid, NULL::int AS class_id, NULL AS content_type,
          (extract(epoch FROM own.mtime) * 1000)::float8 AS mtime, NULL::jsonb AS meta, NULL::bigint AS size,
          NULL AS sha256
        FROM names own WHERE own.child_id = d.id AND d.path <> $4 AND d.path > $5
      ) directory
      UNION ALL
      SELECT * FROM (
        SELECT n.name, ${FOUND_COLUMNS} FROM names n JOIN blobs b ON b.fid = n.fid
        WHERE n.dir_id = d.id AND n.fid IS NOT NULL AND (d.path <> $5 OR n.name > $6)
        ORDER BY n.name LIMIT $7
      ) files
    ) e ORDER BY d.path, e.name COLLATE "C" LIMIT $7`,
};

/** All below a directory: directories in the order of their paths, each one's entry before its files. */
export async function listAllBelow(
  db: Queryable,
  state: ClusterState,
  domain: DomainState,
  path: string,
  options: { limit: number; cursor?: string },
): Promise<Page> {
  const [fromPath, fromName] =
    options.cursor === undefined ? [path, ''] : (readCursor(options.cursor, 2) as [string, string]);
  if (!fromPath.startsWith(path)) throw new Problem('invalid-cursor');
  // On the first page no directory has been shown, so nothing is skipped: '' is before every path.
  const shownUpTo = options.cursor === undefined ? '' : fromPath;
  const values = [domain.id, fromPath, path === '' ? null : endOfPath(path), path, shownUpTo, fromName];
  const rows = await db.query<FoundRow & { path: string; name: string }>(listBelow, [
    ...values,
    options.limit + 1,
  ]);
  const shown = rows.slice(0, options.limit);
  const entries = await Promise.all(
    shown.map((row) => foundFrom(state, row.name === '' ? row.path.slice(0, -1) : row.path + row.name, row)),
  );
  const last = shown.at(-1);
  return rows.length > shown.length && last
    ? { entries, next: makeCursor([last.path, last.name]) }
    : { entries };
}

/** An opaque cursor from the texts that say where to go on. */
export function makeCursor(parts: (string | number)[]): string {
  return Buffer.from(JSON.stringify(parts)).toString('base64url');
}

/** The texts of a cursor. @throws Problem invalid-cursor */
export function readCursor(cursor: string, length: number): string[] {
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString());
    if (
      Array.isArray(parts) &&
      parts.length === length &&
      parts.every((part) => !String(part).includes('\0'))
    ) {
      return parts.map(String);
    }
  } catch {
    // Not ours: refused below.
  }
  throw new Problem('invalid-cursor');
}
