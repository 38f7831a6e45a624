// Domains as rows: made with their class 'default' and their root directory, and dropped as a whole.
import { Problem } from '../../services/problems.ts';
import type { Database, Queryable, Statement } from '../database/database.ts';
import type { DomainState } from './state.ts';

// One statement, so that no domain is ever without its root or its class.
const insertDomain: Statement = {
  name: 'insert-domain',
  text: `WITH made AS (
      INSERT INTO domains (name, trash_days) VALUES ($1, $2)
      ON CONFLICT (name) WHERE dropped IS NULL DO NOTHING RETURNING id
    ), class AS (
      INSERT INTO classes (domain_id, name) SELECT id, 'default' FROM made
    )
    INSERT INTO dirs (domain_id, path) SELECT id, '' FROM made`,
};

/** @throws Problem already-exists */
export async function createDomain(db: Queryable, name: string, trashDays: number): Promise<void> {
  if ((await db.count(insertDomain, [name, trashDays])) === 0) {
    throw new Problem('already-exists', `There is a domain '${name}' already.`);
  }
}

// What was older than the former number of days is gone, and does not come back with a larger one.
const updateTrashDays: Statement = {
  name: 'update-trash-days',
  text: `UPDATE domains SET trash_days = $2, known_since = greatest(known_since, now() - trash_days * interval '1 day')
    WHERE id = $1 AND dropped IS NULL`,
};

/** @throws Problem domain-not-found */
export async function setTrashDays(db: Queryable, domain: DomainState, trashDays: number): Promise<void> {
  if ((await db.count(updateTrashDays, [domain.id, trashDays])) === 0) throw gone(domain);
}

const updateEnvironment: Statement = {
  name: 'update-environment',
  text: 'UPDATE domains SET environment = $2 WHERE id = $1 AND dropped IS NULL',
};

/** @param environment null: whoever names itself next @throws Problem domain-not-found */
export async function setEnvironment(
  db: Queryable,
  domain: DomainState,
  environment: string | null,
): Promise<void> {
  if ((await db.count(updateEnvironment, [domain.id, environment])) === 0) throw gone(domain);
}

// The row is only written where nothing is recorded: a client that is refused may ask very often.
const claimDomain: Statement = {
  name: 'claim-domain',
  text: `WITH claimed AS (
      UPDATE domains SET environment = $2 WHERE id = $1 AND environment IS NULL RETURNING environment
    )
    SELECT coalesce((SELECT environment FROM claimed), environment) AS environment FROM domains WHERE id = $1`,
};

/** Records the environment that writes a domain, if none is recorded. @returns the one that is recorded now */
export async function claimEnvironment(
  db: Queryable,
  domain: DomainState,
  environment: string,
): Promise<string> {
  for (;;) {
    const [row] = await db.query<{ environment: string | null }>(claimDomain, [domain.id, environment]);
    if (row === undefined) throw gone(domain);
    // Null: another one was recorded while this statement ran, and the next sees it.
    if (row.environment !== null) return row.environment;
  }
}

const lockDomain: Statement = {
  name: 'lock-domain-to-drop',
  text: 'SELECT id FROM domains WHERE id = $1 AND dropped IS NULL FOR UPDATE',
};
const lockRoot: Statement = {
  name: 'lock-root',
  text: `SELECT id FROM dirs WHERE domain_id = $1 AND path = '' FOR UPDATE`,
};
const contents: Statement = {
  name: 'domain-contents',
  text: `SELECT EXISTS (SELECT FROM names WHERE dir_id = $2) AS named,
    EXISTS (SELECT FROM trash WHERE domain_id = $1) AS trashed`,
};
const deleteRoot: Statement = { name: 'delete-root', text: 'DELETE FROM dirs WHERE id = $1' };
// Paths that begin with '/' are those of trees that were removed before.
const detachAll: Statement = {
  name: 'detach-domain',
  text: `UPDATE dirs SET path = '/' || $2::bigint || '/' || path
    WHERE domain_id = $1 AND NOT (path >= '/' AND path < '0')`,
};
const deleteTokens: Statement = {
  name: 'delete-domain-tokens',
  text: 'DELETE FROM tokens WHERE domain_id = $1',
};
const markDropped: Statement = {
  name: 'drop-domain',
  text: 'UPDATE domains SET dropped = now() WHERE id = $1',
};

/**
 * Drops a domain. Its name is free at once; what is left of it is purged in the background (namespace/purge.ts).
 * @throws Problem domain-not-found; directory-not-empty unless `recursive`
 */
export function dropDomain(db: Database, domain: DomainState, recursive: boolean): Promise<void> {
  return db.transaction((tx) => dropDomainIn(tx, domain, recursive));
}

/** Drops a domain within a transaction. */
export async function dropDomainIn(tx: Queryable, domain: DomainState, recursive: boolean): Promise<void> {
  if ((await tx.query(lockDomain, [domain.id])).length === 0) throw gone(domain);
  // An upload in flight holds a share of its directory's row: it is waited for here, and seen in the next statement.
  const [root] = await tx.query<{ id: number }>(lockRoot, [domain.id]);
  if (root === undefined) throw new Error(`domain ${domain.id} has no root directory`);
  if (recursive) {
    await tx.query(detachAll, [domain.id, root.id]);
  } else {
    const [row] = await tx.query<{ named: boolean; trashed: boolean }>(contents, [domain.id, root.id]);
    if (row?.named) throw notEmpty(`Domain '${domain.name}' holds files or directories.`);
    if (row?.trashed) throw notEmpty(`The trash of domain '${domain.name}' holds versions.`);
    // With its row gone, an upload that comes too late fails; in a root that is only detached it would be lost unseen.
    await tx.query(deleteRoot, [root.id]);
  }
  await tx.query(deleteTokens, [domain.id]);
  await tx.query(markDropped, [domain.id]);
}

function gone(domain: DomainState): Problem {
  return new Problem('domain-not-found', `There is no domain '${domain.name}'.`);
}

function notEmpty(what: string): Problem {
  return new Problem('directory-not-empty', `${what} Remove them first, or delete it with recursive=true.`);
}
