// Single names: locked, put in place under a precondition, removed, and what is kept about them changed.
import { splitKey } from '../../services/keys.ts';
import { Problem } from '../../services/problems.ts';
import type { ClusterState, DomainState } from '../cluster/state.ts';
import type { Queryable, Statement } from '../database/database.ts';
import { findNow } from './find.ts';
import { checkPrecondition } from './preconditions.ts';
import type { Found, FoundFile, Meta, Precondition } from './types.ts';

const lockName: Statement = {
  name: 'lock-name',
  text: `SELECT n.name FROM names n JOIN dirs d ON d.id = n.dir_id
    WHERE d.domain_id = $1 AND d.path = $2 AND n.name = $3 FOR UPDATE OF n`,
};

/** What a key names, its row locked until the transaction ends; undefined if it names nothing. */
export async function lockKey(
  tx: Queryable,
  state: ClusterState,
  domain: DomainState,
  key: string,
): Promise<Found | undefined> {
  const { path, name } = splitKey(key);
  // Locked first, read in the next statement: that one sees what the lock waited for.
  await tx.query(lockName, [domain.id, path, name]);
  const [found] = await findNow(tx, state, [{ domainId: domain.id, key }]);
  return found;
}

/** What a key holds that is to be replaced by a file, locked; its precondition is checked. */
export async function lockTarget(
  tx: Queryable,
  state: ClusterState,
  domain: DomainState,
  key: string,
  precondition: Precondition | undefined,
): Promise<FoundFile | undefined> {
  const target = await lockKey(tx, state, domain, key);
  if (target?.kind === 'directory') throw isDirectory(key);
  checkPrecondition(precondition, target);
  return target;
}

/** The problem for a key that names a directory where a file is meant. */
export function isDirectory(key: string): Problem {
  return new Problem('is-a-directory', `'${key}' is a directory.`);
}

const placeName: Statement = {
  name: 'place-name',
  text: `INSERT INTO names (dir_id, name, fid, class_id, content_type, mtime, meta)
    VALUES ($1, $2, $3, $4, $5, coalesce($6, now()), $7)
    ON CONFLICT (dir_id, name) DO UPDATE SET fid = excluded.fid, class_id = excluded.class_id,
      content_type = excluded.content_type, mtime = excluded.mtime, meta = excluded.meta
      WHERE names.child_id IS NULL AND NOT $8::boolean
    RETURNING xmax = 0 AS created`,
};

export interface Version {
  fid: number;
  classId: number;
  contentType: string;
  /** Now, if absent. */
  mtime?: Date;
  meta: Meta | null;
}

/**
 * Gives a live blob (whose row this transaction holds FOR KEY SHARE) the name `key` in the directory `dirId`.
 * @returns whether the name is new
 */
export async function placeFile(
  tx: Queryable,
  state: ClusterState,
  place: { domain: DomainState; key: string; dirId: number; precondition?: Precondition | undefined },
  version: Version,
): Promise<{ created: boolean }> {
  const { domain, key, dirId, precondition } = place;
  for (;;) {
    await lockTarget(tx, state, domain, key, precondition);
    const [row] = await tx.query<{ created: boolean }>(placeName, [
      dirId,
      splitKey(key).name,
      version.fid,
      version.classId,
      version.contentType,
      version.mtime ?? null,
      version.meta === null ? null : JSON.stringify(version.meta),
      precondition?.ifNoneMatch === '*',
    ]);
    if (row !== undefined) return row;
    // Somebody took the name between the look and the insert: look again, and say what is there.
  }
}

const removeName: Statement = {
  name: 'remove-name',
  text: `DELETE FROM names n USING dirs d
    WHERE d.id = n.dir_id AND d.domain_id = $1 AND d.path = $2 AND n.name = $3 AND n.fid IS NOT NULL`,
};

/** Deletes a file. @throws Problem file-not-found, is-a-directory, precondition-failed */
export async function removeFile(
  tx: Queryable,
  state: ClusterState,
  domain: DomainState,
  key: string,
  precondition?: Precondition,
): Promise<void> {
  if (precondition !== undefined) await lockTarget(tx, state, domain, key, precondition);
  const { path, name } = splitKey(key);
  const removed = await tx.count(removeName, [domain.id, path, name]);
  if (removed > 0) return;
  const [found] = await findNow(tx, state, [{ domainId: domain.id, key }]);
  if (found?.kind === 'directory') throw isDirectory(key);
  throw new Problem('file-not-found', `There is no file '${key}'.`);
}

const changeName: Statement = {
  name: 'change-name',
  text: `UPDATE names n SET content_type = coalesce($4, n.content_type), mtime = coalesce($5, n.mtime),
      meta = coalesce($6, n.meta)
    FROM dirs d WHERE d.id = n.dir_id AND d.domain_id = $1 AND d.path = $2 AND n.name = $3`,
};

export interface Change {
  contentType?: string;
  mtime?: Date;
  meta?: Meta;
}

/** Changes what is kept about a file. @returns the file as it is now */
export async function changeFile(
  tx: Queryable,
  state: ClusterState,
  place: { domain: DomainState; key: string; precondition?: Precondition | undefined },
  change: Change,
): Promise<FoundFile> {
  const { domain, key, precondition } = place;
  const before = await lockTarget(tx, state, domain, key, precondition);
  if (before === undefined) throw new Problem('file-not-found', `There is no file '${key}'.`);
  const { path, name } = splitKey(key);
  const meta = change.meta === undefined ? null : JSON.stringify(change.meta);
  await tx.query(changeName, [domain.id, path, name, change.contentType ?? null, change.mtime ?? null, meta]);
  const [after] = await findNow(tx, state, [{ domainId: domain.id, key }]);
  return after as FoundFile;
}
