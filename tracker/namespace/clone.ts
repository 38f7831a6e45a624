// Clones of domains: all names of one domain under another name, as they are at one instant. Rows are copied, bytes are
// shared; what is written to either later is its own.
import { Problem } from '../../services/problems.ts';
import { createDomain } from '../cluster/domains.ts';
import type { DomainState } from '../cluster/state.ts';
import type { Database, Queryable, Statement } from '../database/database.ts';
import { inDomain } from './enter.ts';

/** Names that one statement copies: each stays far below the time that a statement may take. */
const BATCH = 20_000;

const findMade: Statement = {
  name: 'clone-made',
  text: 'SELECT id FROM domains WHERE name = $1 AND dropped IS NULL',
};
const copyDefault: Statement = {
  name: 'clone-default-class',
  text: `UPDATE classes c SET copies = s.copies, min_copies = s.min_copies, prefixes = s.prefixes, trash = s.trash,
      spread = s.spread
    FROM classes s WHERE s.domain_id = $1 AND s.name = c.name AND c.domain_id = $2`,
};
const copyClasses: Statement = {
  name: 'clone-classes',
  text: `INSERT INTO classes (domain_id, name, copies, min_copies, prefixes, trash, spread)
    SELECT $2, name, copies, min_copies, prefixes, trash, spread FROM classes WHERE domain_id = $1
    ON CONFLICT (domain_id, name) DO NOTHING`,
};
const attached = `NOT (path >= '/' AND path < '0')`;
const copyDirs: Statement = {
  name: 'clone-dirs',
  text: `WITH page AS MATERIALIZED (
      SELECT path FROM dirs WHERE domain_id = $1 AND path > $3 AND ${attached} ORDER BY path LIMIT $4
    ), made AS (INSERT INTO dirs (domain_id, path) SELECT $2, path FROM page)
    SELECT count(*)::int AS copied, max(path) AS path FROM page`,
};
// FOR KEY SHARE holds the reaper off. In this transaction's isolation level, a blob that was reaped or changed after its
// snapshot is an error, and all is done again. Rows of the clone are looked up one by one: no statistics know of them yet,
// and a join is planned for one row. $3 and $4 are the directory and the name that the last page ended with.
const copyNames: Statement = {
  name: 'clone-names',
  text: `WITH page AS MATERIALIZED (
      SELECT d.path, e.* FROM (SELECT id, path FROM dirs WHERE domain_id = $1 AND path >= $3 AND ${attached} ORDER BY path) d
      CROSS JOIN LATERAL (
        SELECT n.name, n.child_id, n.fid, n.class_id, n.content_type, n.mtime, n.meta FROM names n
        WHERE n.dir_id = d.id AND (d.path <> $3 OR n.name > $4) ORDER BY n.name LIMIT $5
      ) e LIMIT $5
    ), live AS MATERIALIZED (
      SELECT fid FROM blobs WHERE fid IN (SELECT fid FROM page) AND state = 'live' ORDER BY fid FOR KEY SHARE
    ), made AS (
      INSERT INTO names (dir_id, name, child_id, fid, class_id, content_type, mtime, meta)
      SELECT (SELECT id FROM dirs WHERE domain_id = $2 AND path = p.path), p.name,
        CASE WHEN p.child_id IS NOT NULL THEN (SELECT id FROM dirs WHERE domain_id = $2 AND path = p.path || p.name || '/') END,
        p.fid, (SELECT k.id FROM classes s JOIN classes k ON k.domain_id = $2 AND k.name = s.name WHERE s.id = p.class_id),
        p.content_type, p.mtime, p.meta
      FROM page p WHERE p.child_id IS NOT NULL OR p.fid IN (SELECT fid FROM live)
      RETURNING fid
    )
    SELECT (SELECT count(*) FROM page)::int AS looked, (SELECT count(fid) FROM made)::int AS files, last.path, last.name
    FROM (SELECT 1) one LEFT JOIN LATERAL (SELECT path, name FROM page ORDER BY path DESC, name DESC LIMIT 1) last ON true`,
};

export interface Cloned {
  files: number;
  directories: number;
}

/**
 * Makes the domain `name` with all directories, files and classes of `source`, as they are at one instant; its trash,
 * history and tokens are not copied. One transaction: whoever reads it sees all of it or none.
 * @throws Problem already-exists, domain-not-found, domain-busy
 */
export async function cloneDomain(
  db: Database,
  source: DomainState,
  name: string,
  trashDays: number,
): Promise<Cloned> {
  const clone = async (tx: Queryable) => {
    const [there] = await tx.query<{ id: number }>(findMade, [source.name]);
    if (there?.id !== source.id)
      throw new Problem('domain-not-found', `There is no domain '${source.name}'.`);
    await createDomain(tx, name, trashDays);
    const [made] = await tx.query<{ id: number }>(findMade, [name]);
    const target = made?.id as number;
    await tx.query(copyDefault, [source.id, target]);
    await tx.query(copyClasses, [source.id, target]);
    const directories = await copyAllDirs(tx, source.id, target);
    return { directories, files: await copyAllNames(tx, source.id, target) };
  };
  // Every statement of the transaction sees the source as it was at its first.
  return inDomain(db, source, clone, 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;');
}

async function copyAllDirs(tx: Queryable, source: number, target: number): Promise<number> {
  let directories = 0;
  // The root is there already.
  for (let after: string | null = ''; after !== null; ) {
    const rows: { copied: number; path: string | null }[] = await tx.query(copyDirs, [
      source,
      target,
      after,
      BATCH,
    ]);
    directories += rows[0]?.copied ?? 0;
    after = rows[0]?.path ?? null;
  }
  return directories;
}

async function copyAllNames(tx: Queryable, source: number, target: number): Promise<number> {
  let files = 0;
  for (let place = ['', '']; ; ) {
    const [page] = await tx.query<{ looked: number; files: number; path: string; name: string }>(copyNames, [
      source,
      target,
      ...place,
      BATCH,
    ]);
    files += page?.files ?? 0;
    if (page === undefined || page.looked < BATCH) return files;
    place = [page.path, page.name];
  }
}
