// Directories are rows: made with their parents, removed when empty or with all below, and listed. Making, moving and
// removing take the domain's row lock, so that directories stay a tree; uploads into an existing one do not.
import { Problem } from '../../services/problems.ts';
import type { DomainState } from '../cluster/state.ts';
import type { Queryable, Statement } from '../database/database.ts';

// The first lock also sets the time of this transaction's changes (schema, history): changes of the tree follow each
// other in the order in which they got it, which need not be the one in which they began.
const lockDomainRow: Statement = {
  name: 'lock-domain',
  text: `WITH locked AS MATERIALIZED (
      SELECT id FROM domains WHERE id = $1 AND dropped IS NULL FOR NO KEY UPDATE
    )
    SELECT id, set_config('cistern.at',
      coalesce(nullif(current_setting('cistern.at', true), ''), clock_timestamp()::text), true) FROM locked`,
};
const findDirs: Statement = {
  name: 'find-dirs',
  text: 'SELECT id, path FROM dirs WHERE domain_id = $1 AND path = ANY ($2::text[])',
};
const findName: Statement = {
  name: 'find-name',
  text: 'SELECT child_id, fid, mtime FROM names WHERE dir_id = $1 AND name = $2',
};
const insertDir: Statement = {
  name: 'insert-dir',
  text: 'INSERT INTO dirs (domain_id, path) VALUES ($1, $2) RETURNING id',
};
const insertChild: Statement = {
  name: 'insert-child',
  text: 'INSERT INTO names (dir_id, name, child_id) VALUES ($1, $2, $3) RETURNING mtime',
};

/** Takes the lock that every change of the tree of directories takes. @throws Problem domain-not-found */
export async function lockDomain(tx: Queryable, domain: DomainState): Promise<void> {
  const rows = await tx.query(lockDomainRow, [domain.id]);
  if (rows.length === 0) throw new Problem('domain-not-found', `There is no domain '${domain.name}'.`);
}

/** 'a/b' -> 'a/b/'; the root is ''. Keys of directories have no trailing slash, their rows' paths do. */
export function pathOfDirectory(key: string): string {
  return key === '' ? '' : `${key}/`;
}

/** The end of the range of paths that begin with `path`: '/' is followed by '0' in byte order. */
export function endOfPath(path: string): string {
  return `${path.slice(0, -1)}0`;
}

/** The id of a directory's row, or undefined. */
export async function findDirectory(
  tx: Queryable,
  domain: DomainState,
  path: string,
): Promise<number | undefined> {
  const [row] = await tx.query<{ id: number }>(findDirs, [domain.id, [path]]);
  return row?.id;
}

/** The id of the directory that something is to be put in. @throws Problem directory-not-found */
export async function requireDirectory(tx: Queryable, domain: DomainState, path: string): Promise<number> {
  const id = await findDirectory(tx, domain, path);
  if (id !== undefined) return id;
  throw new Problem('directory-not-found', `The parent directory '${path.slice(0, -1)}' does not exist.`);
}

/**
 * Finds or makes the directory `path` and its parents, under the domain's lock.
 * @returns its id, and whether it was made now
 * @throws Problem not-a-directory if a part of the path is a file
 */
export async function ensureDirectory(
  tx: Queryable,
  domain: DomainState,
  path: string,
): Promise<{ id: number; created: boolean }> {
  const existing = await findDirectory(tx, domain, path);
  if (existing !== undefined) return { id: existing, created: false };
  await lockDomain(tx, domain);
  const paths = ['', ...[...path.matchAll(/\//g)].map((slash) => path.slice(0, slash.index + 1))];
  const rows = await tx.query<{ id: number; path: string }>(findDirs, [domain.id, paths]);
  const ids = new Map(rows.map((row) => [row.path, row.id]));
  let parent = ids.get('') as number;
  let created = false;
  for (const [i, step] of paths.entries()) {
    const id = ids.get(step);
    if (id !== undefined) parent = id;
    else {
      const above = paths[i - 1] as string;
      parent = await makeChild(tx, domain, parent, step, step.slice(above.length, -1));
      created = true;
    }
  }
  return { id: parent, created };
}

/** Makes one directory in an existing one, whose id is `parent`. The domain is locked. */
async function makeChild(tx: Queryable, domain: DomainState, parent: number, path: string, name: string) {
  const [taken] = await tx.query<{ fid: number | null }>(findName, [parent, name]);
  if (taken !== undefined) throw new Problem('not-a-directory', `'${path.slice(0, -1)}' is a file.`);
  const [dir] = await tx.query<{ id: number }>(insertDir, [domain.id, path]);
  const id = (dir as { id: number }).id;
  await tx.query(insertChild, [parent, name, id]);
  return id;
}

const anyNameIn: Statement = { name: 'any-name-in', text: 'SELECT 1 FROM names WHERE dir_id = $1 LIMIT 1' };
const deleteChild: Statement = { name: 'delete-child', text: 'DELETE FROM names WHERE child_id = $1' };
const deleteDir: Statement = { name: 'delete-dir', text: 'DELETE FROM dirs WHERE id = $1' };
const detachBelow: Statement = {
  name: 'detach-below',
  text: `UPDATE dirs SET path = '/' || $2::bigint || '/' || path
    WHERE domain_id = $1 AND path >= $3 AND path < $4`,
};
// The root has no name whose history could tell which directory it was.
const rememberRoot: Statement = {
  name: 'remember-root',
  text: `INSERT INTO history (domain_id, dir_id, name, child_id, mtime, since, until)
    SELECT id, 0, '', $2, created, '-infinity', writing_at() FROM domains WHERE id = $1 AND trash_days > 0`,
};
const detachAll: Statement = {
  name: 'detach-all',
  text: `UPDATE dirs SET path = '/' || $2::bigint || '/' || path
    WHERE domain_id = $1 AND (path < '/' OR path >= '0')`,
};

/** Removes an empty directory. The domain is locked. @throws Problem directory-not-empty */
export async function removeEmpty(tx: Queryable, id: number, key: string): Promise<void> {
  // An upload that is about to put a name here holds a share of the row (its foreign key): the delete waits for it,
  // is then refused with 23503, and the second run finds the name.
  const inside = await tx.query(anyNameIn, [id]);
  if (inside.length > 0) {
    throw new Problem(
      'directory-not-empty',
      `'${key}' is not empty. Remove what is in it, or remove it recursively.`,
    );
  }
  await tx.query(deleteChild, [id]);
  await tx.query(deleteDir, [id]);
}

/**
 * Takes a directory and all below out of the tree, in one step whatever its size: its paths then begin with
 * '/<id>/', which no key can. What it held is purged later. The root stays, and is empty then. The domain is locked.
 */
export async function detachTree(
  tx: Queryable,
  domain: DomainState,
  id: number,
  path: string,
): Promise<void> {
  if (path === '') {
    await tx.query(rememberRoot, [domain.id, id]);
    await tx.query(detachAll, [domain.id, id]);
    await tx.query(insertDir, [domain.id, '']);
    return;
  }
  await tx.query(deleteChild, [id]);
  await tx.query(detachBelow, [domain.id, id, path, endOfPath(path)]);
}
