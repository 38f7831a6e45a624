// Copy and move, of a file or of a directory with all below: rows change, no byte moves, in one transaction.
import { MAX_KEY_BYTES, splitKey } from '../../services/keys.ts';
import { Problem } from '../../services/problems.ts';
import type { ClassState, ClusterState, DomainState } from '../cluster/state.ts';
import type { Queryable, Statement } from '../database/database.ts';
import { honourClass, reclassBelow } from './classes.ts';
import {
  endOfPath,
  ensureDirectory,
  findDirectory,
  lockDomain,
  pathOfDirectory,
  requireDirectory,
} from './directories.ts';
import { findNow } from './find.ts';
import { lockKey, lockTarget, placeFile } from './names.ts';
import { checkPrecondition } from './preconditions.ts';
import type { FoundFile, Precondition } from './types.ts';

export interface Relocation {
  domain: DomainState;
  from: string;
  to: string;
  /** If false, the directory that `to` is in must exist; else it is made. */
  parents?: boolean;
  precondition?: Precondition;
}

/** The directory that `to` is in. @throws Problem directory-not-found */
async function directoryOfTarget(tx: Queryable, { domain, to, parents }: Relocation): Promise<number> {
  const { path } = splitKey(to);
  return parents === false
    ? requireDirectory(tx, domain, path)
    : (await ensureDirectory(tx, domain, path)).id;
}

// Waits for a reaper that holds the blob, and then sees whether it was reaped.
const shareBlob: Statement = {
  name: 'share-blob',
  text: `SELECT fid FROM blobs WHERE fid = $1 AND state = 'live' FOR KEY SHARE`,
};
const deleteName: Statement = {
  name: 'delete-name',
  text: `WITH said AS (SELECT set_config('cistern.unnaming', 'replaced', true))
    DELETE FROM names USING said WHERE dir_id = $1 AND name = $2`,
};
const moveName: Statement = {
  name: 'move-name',
  text: `UPDATE names n SET dir_id = $4, name = $5, class_id = coalesce($6, n.class_id)
    FROM dirs d WHERE d.id = n.dir_id AND d.domain_id = $1 AND d.path = $2 AND n.name = $3`,
};
/**
 * Moves a file. What `to` held goes to the trash if its class says so.
 * @returns whether `to` is new
 */
export async function moveFile(
  tx: Queryable,
  state: ClusterState,
  relocation: Relocation,
  classOfTo: ClassState,
): Promise<{ created: boolean }> {
  const { domain, from, to } = relocation;
  const { name } = splitKey(to);
  const id = await directoryOfTarget(tx, relocation);
  // Two moves in opposite directions must lock in one order.
  const [first, second] = [from, to].sort() as [string, string];
  for (const key of [first, second]) await lockKey(tx, state, domain, key);
  const target = await lockTarget(tx, state, domain, to, relocation.precondition);
  if (from === to) return { created: false };
  if (target !== undefined) await tx.query(deleteName, [id, name]);
  const source = splitKey(from);
  const moved = await tx.count(moveName, [domain.id, source.path, source.name, id, name, classOfTo.id]);
  if (moved === 0) throw notFound(from);
  const [file] = (await findNow(tx, state, [{ domainId: domain.id, key: to }])) as [FoundFile];
  await honourClass(tx, file.fid, classOfTo);
  return { created: target === undefined };
}

function notFound(key: string): Problem {
  return new Problem('file-not-found', `There is no file '${key}'.`);
}

/** Copies a file: a second name for the same blob. @returns whether `to` is new */
export async function copyFile(
  tx: Queryable,
  state: ClusterState,
  relocation: Relocation,
  classOfTo: ClassState,
): Promise<{ created: boolean }> {
  const { domain, from, to } = relocation;
  const id = await directoryOfTarget(tx, relocation);
  const [source] = (await findNow(tx, state, [{ domainId: domain.id, key: from }])) as [
    FoundFile | undefined,
  ];
  if (source === undefined) throw notFound(from);
  const shared = await tx.query(shareBlob, [source.fid]);
  if (shared.length === 0) throw notFound(from);
  if (from === to) {
    await lockTarget(tx, state, domain, to, relocation.precondition);
    return { created: false };
  }
  const { fid, contentType, meta } = source;
  const place = { domain, key: to, dirId: id, precondition: relocation.precondition };
  const placed = await placeFile(tx, state, place, { fid, classId: classOfTo.id, contentType, meta });
  await honourClass(tx, fid, classOfTo);
  return placed;
}

const renameChild: Statement = {
  name: 'rename-child',
  text: 'UPDATE names SET dir_id = $2, name = $3 WHERE child_id = $1',
};
const renameBelow: Statement = {
  name: 'rename-below',
  text: `UPDATE dirs SET path = $4 || substring(path FROM char_length($2) + 1)
    WHERE domain_id = $1 AND path >= $2 AND path < $3`,
};
// Names longer than 255 bytes are rare and have an index of their own; only they need to be looked at one by one.
const tooLongBelow: Statement = {
  name: 'too-long-below',
  text: `SELECT 1 FROM dirs d WHERE d.domain_id = $1 AND d.path >= $2 AND d.path < $3
      AND octet_length(d.path) + $4::int + 255 > $5::int
      AND EXISTS (SELECT 1 FROM names n WHERE n.dir_id = d.id
        AND octet_length(d.path) + octet_length(n.name) + $4::int > $5::int)
    UNION ALL
    SELECT 1 FROM dirs d JOIN names n ON n.dir_id = d.id AND octet_length(n.name) > 255
    WHERE d.domain_id = $1 AND d.path >= $2 AND d.path < $3
      AND octet_length(d.path) + octet_length(n.name) + $4::int > $5::int
    LIMIT 1`,
};

/** Checks that a directory can be moved or copied to `to`, and finds or makes what `to` is in. The domain gets locked. */
async function prepareTarget(tx: Queryable, state: ClusterState, relocation: Relocation) {
  const { domain, from, to, precondition } = relocation;
  await lockDomain(tx, domain);
  const source = pathOfDirectory(from);
  const target = pathOfDirectory(to);
  if (target.startsWith(source)) {
    throw new Problem('move-into-itself', `'${to}' is '${from}' or lies in it.`);
  }
  const id = await findDirectory(tx, domain, source);
  if (id === undefined) throw new Problem('directory-not-found', `There is no directory '${from}'.`);
  const [taken] = await findNow(tx, state, [{ domainId: domain.id, key: to }]);
  if (taken !== undefined) {
    throw new Problem('already-exists', `'${to}' exists; a directory replaces nothing. Remove it first.`);
  }
  checkPrecondition(precondition, undefined);
  const longer = Buffer.byteLength(target) - Buffer.byteLength(source);
  if (longer > 0) {
    const long = await tx.query(tooLongBelow, [domain.id, source, endOfPath(source), longer, MAX_KEY_BYTES]);
    if (long.length > 0)
      throw new Problem('invalid-key', `A key below would become longer than ${MAX_KEY_BYTES} bytes.`);
  }
  const parentId = await directoryOfTarget(tx, relocation);
  return { id, source, target, parentId, name: splitKey(to).name };
}

/** Moves a directory: one name row, and the paths of the directories below, however many files lie there. */
export async function moveDirectory(
  tx: Queryable,
  state: ClusterState,
  relocation: Relocation,
): Promise<void> {
  const { id, source, target, parentId, name } = await prepareTarget(tx, state, relocation);
  await tx.query(renameChild, [id, parentId, name]);
  await tx.query(renameBelow, [relocation.domain.id, source, endOfPath(source), target]);
  await reclassBelow(tx, relocation.domain, source, target);
}

const copyDirs: Statement = {
  name: 'copy-dirs',
  text: `INSERT INTO dirs (domain_id, path)
    SELECT domain_id, $4 || substring(path FROM char_length($2) + 1) FROM dirs
    WHERE domain_id = $1 AND path >= $2 AND path < $3`,
};
// FOR KEY SHARE waits for a reaper that holds one of the blobs, and then leaves out what was reaped.
const copyNames: Statement = {
  name: 'copy-names',
  text: `WITH source AS MATERIALIZED (
      SELECT id, $4 || substring(path FROM char_length($2) + 1) AS path FROM dirs
      WHERE domain_id = $1 AND path >= $2 AND path < $3
    ), file AS MATERIALIZED (
      SELECT s.path, n.name, n.fid, n.class_id, n.content_type, n.meta
      FROM source s JOIN names n ON n.dir_id = s.id AND n.fid IS NOT NULL JOIN blobs b ON b.fid = n.fid
      WHERE b.state = 'live' FOR KEY SHARE OF b
    )
    INSERT INTO names (dir_id, name, child_id, fid, class_id, content_type, meta)
    SELECT d.id, f.name, NULL, f.fid, f.class_id, f.content_type, f.meta
      FROM file f JOIN dirs d ON d.domain_id = $1 AND d.path = f.path
    UNION ALL
    SELECT d.id, n.name, c.id, NULL, NULL, NULL, NULL
      FROM source s JOIN names n ON n.dir_id = s.id AND n.child_id IS NOT NULL
      JOIN dirs d ON d.domain_id = $1 AND d.path = s.path
      JOIN dirs c ON c.domain_id = $1 AND c.path = s.path || n.name || '/'`,
};
const nameCopy: Statement = {
  name: 'name-copy',
  text: `INSERT INTO names (dir_id, name, child_id)
    SELECT $2, $3, id FROM dirs WHERE domain_id = $1 AND path = $4`,
};

/** Copies a directory with all below: a row for each name, no bytes. */
export async function copyDirectory(
  tx: Queryable,
  state: ClusterState,
  relocation: Relocation,
): Promise<void> {
  const { source, target, parentId, name } = await prepareTarget(tx, state, relocation);
  const range = [relocation.domain.id, source, endOfPath(source), target];
  await tx.query(copyDirs, range);
  await tx.query(copyNames, range);
  await tx.query(nameCopy, [relocation.domain.id, parentId, name, target]);
  await reclassBelow(tx, relocation.domain, source, target);
}
