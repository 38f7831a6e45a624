// What lies in each directory, in few bytes: how many files, and one digest over their names, sizes, times and modes.
// Who mirrors a directory compares a line for a thousand files, and lists only the directories that differ.
import type { DomainState } from '../cluster/state.ts';
import type { Queryable, Statement } from '../database/database.ts';
import { endOfPath } from './directories.ts';
import { makeCursor, readCursor } from './list.ts';

export interface Summary {
  /** The directory; '' is the root. */
  key: string;
  files: number;
  /** Sum of their sizes. */
  bytes: number;
  /** SHA-256 in hex of a line for each file, in byte order of names: `name/size/mtime in ms/mode` and a line end; the mode
   * of a file that has none is 0644. */
  digest: string;
}

// Detached trees ('/<id>/') are not below anything. $4 is where the last page ended; null on the first.
const summaries: Statement = {
  name: 'summaries',
  text: `SELECT d.path, f.files, f.bytes, f.digest
    FROM (SELECT id, path FROM dirs WHERE domain_id = $1 AND path >= $2 AND (path < $3 OR $3 IS NULL)
        AND (path > $4 OR $4 IS NULL) AND NOT (path >= '/' AND path < '0') ORDER BY path LIMIT $5) d
    CROSS JOIN LATERAL (
      SELECT count(*)::int AS files, coalesce(sum(b.size), 0)::float8 AS bytes,
        encode(sha256(convert_to(coalesce(string_agg(n.name || '/' || b.size || '/'
          || floor(extract(epoch FROM n.mtime) * 1000)::bigint || '/' || coalesce(n.meta->>'mode', '0644') || E'\\n', ''
          ORDER BY n.name), ''), 'UTF8')), 'hex') AS digest
      FROM names n JOIN blobs b ON b.fid = n.fid WHERE n.dir_id = d.id
    ) f ORDER BY d.path`,
};

/** A page of the directories from `path` on down, in the order of their paths. */
export async function summarize(
  db: Queryable,
  domain: DomainState,
  path: string,
  { limit, cursor }: { limit: number; cursor?: string },
): Promise<{ directories: Summary[]; next?: string }> {
  const after = cursor === undefined ? null : (readCursor(cursor, 1)[0] as string);
  const end = path === '' ? null : endOfPath(path);
  const rows = await db.query<Omit<Summary, 'key'> & { path: string }>(summaries, [
    domain.id,
    path,
    end,
    after,
    limit + 1,
  ]);
  const shown = rows.slice(0, limit);
  const directories = shown.map(({ path: own, ...row }) => ({ key: own.slice(0, -1), ...row }));
  const last = shown.at(-1);
  return rows.length > limit && last ? { directories, next: makeCursor([last.path]) } : { directories };
}
