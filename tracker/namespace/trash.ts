// The trash: deleted and replaced versions, kept for the domain's trashDays. Triggers fill it (schema, unnaming).
import { etagOf } from '../../services/digests.ts';
import { splitKey, validateKey } from '../../services/keys.ts';
import { Problem } from '../../services/problems.ts';
import type { ClusterState, DomainState } from '../cluster/state.ts';
import type { Queryable, Statement } from '../database/database.ts';
import { honourClass } from './classes.ts';
import { ensureDirectory } from './directories.ts';
import { makeCursor, readCursor } from './list.ts';
import { placeFile } from './names.ts';
import type { Meta, Precondition } from './types.ts';

/** A version in the trash as clients see it. */
export interface TrashedVersion {
  id: number;
  key: string;
  size: number;
  etag: string;
  contentType: string;
  mtime: string;
  class: string;
  meta: Meta;
  fid: number;
  reason: 'deleted' | 'replaced' | 'rewound';
  at: string;
}

interface TrashRow {
  id: number;
  key: string;
  fid: number;
  class_id: number;
  class: string;
  content_type: string;
  mtime: Date;
  meta: Meta | null;
  reason: 'deleted' | 'replaced' | 'rewound';
  at: Date;
  size: number;
  sha256: string;
}

const COLUMNS = `t.id, t.key, t.fid, t.class_id, c.name AS class, t.content_type, t.mtime, t.meta, t.reason, t.at,
  b.size, encode(b.sha256, 'hex') AS sha256`;
const TABLES = 'trash t JOIN blobs b ON b.fid = t.fid JOIN classes c ON c.id = t.class_id';

const listNewest: Statement = {
  name: 'trash-newest',
  text: `SELECT ${COLUMNS} FROM ${TABLES} WHERE t.domain_id = $1 AND t.id < $2 ORDER BY t.id DESC LIMIT $3`,
};
const listPrefix: Statement = {
  name: 'trash-prefix',
  text: `SELECT ${COLUMNS} FROM ${TABLES}
    WHERE t.domain_id = $1 AND t.key >= $2 AND (t.key, t.id) > ($3, $4::bigint) AND starts_with(t.key, $2)
    ORDER BY t.key, t.id LIMIT $5`,
};
const lockVersion: Statement = {
  name: 'trash-lock',
  text: `SELECT ${COLUMNS} FROM ${TABLES} WHERE t.domain_id = $1 AND t.id = $2 FOR UPDATE OF t FOR KEY SHARE OF b`,
};
const deleteVersion: Statement = {
  name: 'trash-delete',
  text: 'DELETE FROM trash WHERE domain_id = $1 AND id = $2',
};

/** Versions, newest first; with a prefix, those of keys that begin with it, by key and oldest first. */
export async function listTrash(
  db: Queryable,
  domain: DomainState,
  options: { prefix: string; limit: number; cursor?: string },
): Promise<{ versions: TrashedVersion[]; next?: string }> {
  const { prefix, limit, cursor } = options;
  const rows = prefix === '' ? await newest() : await byKey();
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const versions = shown.map(versionOf);
  if (rows.length <= limit || last === undefined) return { versions };
  return { versions, next: makeCursor(prefix === '' ? [last.id] : [last.key, last.id]) };

  function newest() {
    const before = cursor === undefined ? Number.MAX_SAFE_INTEGER : idFrom(readCursor(cursor, 1)[0]);
    return db.query<TrashRow>(listNewest, [domain.id, before, limit + 1]);
  }
  function byKey() {
    const [key, id] = cursor === undefined ? ['', 0] : readCursor(cursor, 2);
    return db.query<TrashRow>(listPrefix, [domain.id, prefix, key, idFrom(id), limit + 1]);
  }
}

/** Puts a version back at `to`, or where it was. @returns the key, and whether it is new there */
export async function restoreVersion(
  tx: Queryable,
  state: ClusterState,
  domain: DomainState,
  id: number,
  options: { to?: string; precondition?: Precondition },
): Promise<{ key: string; created: boolean }> {
  const [version] = await tx.query<TrashRow>(lockVersion, [domain.id, id]);
  if (version === undefined) throw new Problem('not-found', `There is no version ${id} in the trash.`);
  const key = options.to ?? validateKey(version.key);
  const { path } = splitKey(key);
  const directory = await ensureDirectory(tx, domain, path);
  const chosen = state.classFor(domain, key);
  const { fid, content_type: contentType, mtime, meta } = version;
  const place = { domain, key, dirId: directory.id, precondition: options.precondition };
  const placed = await placeFile(tx, state, place, { fid, classId: chosen.id, contentType, mtime, meta });
  await honourClass(tx, fid, chosen);
  await tx.query(deleteVersion, [domain.id, id]);
  return { key, created: placed.created };
}

/** The key of a version, or undefined: what a token's prefix is compared with. */
export async function keyOfVersion(
  db: Queryable,
  domain: DomainState,
  id: number,
): Promise<string | undefined> {
  const [row] = await db.query<{ key: string }>(versionKey, [domain.id, id]);
  return row?.key;
}
const versionKey: Statement = {
  name: 'trash-key',
  text: 'SELECT key FROM trash WHERE domain_id = $1 AND id = $2',
};

/** Gives a version up; its bytes are reaped later. @throws Problem not-found */
export async function purgeVersion(db: Queryable, domain: DomainState, id: number): Promise<void> {
  const purged = await db.count(deleteVersion, [domain.id, id]);
  if (purged === 0) throw new Problem('not-found', `There is no version ${id} in the trash.`);
}

// A page is looked at by key, and what fits is deleted: a batch costs its page, whatever of it is left.
const purgePage: Statement = {
  name: 'trash-purge-page',
  text: `WITH page AS MATERIALIZED (
      SELECT id, key, at FROM trash
      WHERE domain_id = $1 AND key >= $2 AND (key, id) > ($3, $4::bigint) AND starts_with(key, $2)
      ORDER BY key, id LIMIT $5
    ), purged AS (
      DELETE FROM trash WHERE id = ANY (ARRAY(SELECT id FROM page WHERE at < coalesce($6::timestamptz, 'infinity')))
      RETURNING id
    )
    SELECT (SELECT count(*) FROM purged)::int AS purged, (SELECT count(*) FROM page)::int AS looked, last.key, last.id
    FROM (SELECT 1) one LEFT JOIN LATERAL (SELECT key, id FROM page ORDER BY key DESC, id DESC LIMIT 1) last ON true`,
};

/**
 * Gives up the versions of one page: of keys that begin with `prefix`, that came into the trash before `before` (all, if
 * absent). Their bytes are reaped later.
 * @returns how many, and where to go on; without `next` that was all
 */
export async function purgeVersions(
  db: Queryable,
  domain: DomainState,
  options: { prefix: string; before?: string; limit: number; cursor?: string },
): Promise<{ purged: number; next?: string }> {
  const { prefix, before = null, limit, cursor } = options;
  const [key, id] = cursor === undefined ? ['', 0] : readCursor(cursor, 2);
  const values = [domain.id, prefix, key, idFrom(id), limit, before];
  const [page] = await db.query<{ purged: number; looked: number; key: string; id: number }>(
    purgePage,
    values,
  );
  const { purged, looked, ...last } = page as NonNullable<typeof page>;
  return looked < limit ? { purged } : { purged, next: makeCursor([last.key, last.id]) };
}

function versionOf(row: TrashRow): TrashedVersion {
  const { id, key, size, fid, reason } = row;
  return {
    id,
    key,
    size,
    etag: etagOf(row.sha256),
    contentType: row.content_type,
    mtime: row.mtime.toISOString(),
    class: row.class,
    meta: row.meta ?? {},
    fid,
    reason,
    at: row.at.toISOString(),
  };
}

function idFrom(text: string | number | undefined): number {
  const id = Number(text);
  if (!Number.isSafeInteger(id)) throw new Problem('invalid-cursor');
  return id;
}
