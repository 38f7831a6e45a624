// Gives blobs that were stored since the backup their names again, oldest first, as their uploads did: a later one
// replaces an earlier one, which goes to the trash.
import { lookup } from 'mime-types';
import { splitKey, validateKey } from '../../services/keys.ts';
import { Problem } from '../../services/problems.ts';
import { createDomain } from '../cluster/domains.ts';
import type { ClusterState } from '../cluster/state.ts';
import type { Database, Queryable, Statement } from '../database/database.ts';
import { burnNow, commitNow } from '../namespace/commit.ts';
import { ensureDirectory } from '../namespace/directories.ts';
import type { Upload } from '../namespace/types.ts';
import type { Newcomer } from './reconcile.ts';

/** An upload may be committed this long after its bytes were stored: receipts live an hour. */
const RECEIPT_MS = 3_600_000;

// For what was stored with too few copies; it is made up for by repair. In one transaction with the names.
const saveDemands: Statement = {
  name: 'restore-save-demands',
  text: 'CREATE TEMPORARY TABLE demands ON COMMIT DROP AS SELECT id, min_copies FROM classes',
};
const demandLittle: Statement = { name: 'restore-demand-little', text: 'UPDATE classes SET min_copies = 1' };
const demandAgain: Statement = {
  name: 'restore-demand-again',
  text: 'UPDATE classes c SET min_copies = d.min_copies FROM demands d WHERE d.id = c.id',
};
const namedNow: Statement = {
  name: 'restore-named-now',
  text: `SELECT b.at > to_timestamp($4::float8 / 1000) AS newer, b.size = $5 AND b.sha256 = decode($6, 'hex') AS same,
      EXISTS (SELECT FROM locations l WHERE l.fid = b.fid AND l.state = 'good') AS held
    FROM dirs d JOIN names n ON n.dir_id = d.id JOIN blobs b ON b.fid = n.fid
    WHERE d.domain_id = $1 AND d.path = $2 AND n.name = $3`,
};

/** What became of a newcomer: its name again, or why not. */
export interface Named {
  newcomer: Newcomer;
  /** Undefined: it has its name. */
  why?: string;
}

/**
 * @param takenAt the instant of the backup, in milliseconds
 * @param newcomers blobs with a record, all verified, oldest first
 */
export async function nameAgain(
  db: Database,
  state: ClusterState,
  newcomers: Newcomer[],
  takenAt: number,
): Promise<Named[]> {
  await makeDomains(db, state, newcomers);
  return await db.transaction(async (tx) => {
    await tx.query(saveDemands);
    await tx.query(demandLittle);
    const named: Named[] = [];
    for (const newcomer of newcomers) {
      const why = await nameOne(tx, state, newcomer, takenAt);
      named.push({ newcomer, ...(why === undefined ? {} : { why }) });
    }
    await tx.query(demandAgain);
    return named;
  });
}

/** Domains that were made since the backup are made again, with the settings of a new one. */
async function makeDomains(db: Database, state: ClusterState, newcomers: Newcomer[]): Promise<void> {
  const known = new Set(state.domains().map(({ name }) => name));
  const wanted = new Set(newcomers.flatMap(({ domain }) => (domain === null ? [] : [domain])));
  for (const name of wanted) if (!known.has(name)) await createDomain(db, name, 30);
  await state.refresh();
}

/** Undefined if its name has its bytes now; else why not, in words. */
async function nameOne(
  tx: Queryable,
  state: ClusterState,
  newcomer: Newcomer,
  takenAt: number,
): Promise<string | undefined> {
  const { domain: domainName, key, fid, size, sha256, devices, at } = newcomer;
  if (domainName === null || key === null) return 'its device has no record of its name';
  if (at < takenAt - RECEIPT_MS)
    return 'it was stored long before the backup, which has no name for it: an upload that was given up';
  const domain = await state.domain(domainName);
  const { path, name } = splitKey(validateKey(key));
  const [now] = await tx.query<{ newer: boolean; same: boolean; held: boolean }>(namedNow, [
    domain.id,
    path,
    name,
    at,
    size,
    sha256,
  ]);
  if (now?.same && now.held) {
    // An upload that was tried again after its first try could not be committed has left the same bytes twice.
    await burnNow(tx, [{ fid, devices }]);
    return undefined;
  }
  if (now?.newer && !now.same) return 'the backup has a later version under its key';
  const className = domain.classes.find((one) => one.name === newcomer.class)?.name;
  const upload: Upload = {
    domain,
    key,
    fid,
    size,
    sha256,
    class: state.classFor(domain, key, className),
    contentType: lookup(name) || 'application/octet-stream',
    mtime: new Date(at),
    devices,
  };
  try {
    await ensureDirectory(tx, domain, path);
  } catch (error) {
    if (error instanceof Problem && error.problem === 'not-a-directory') return error.message;
    throw error;
  }
  const [result] = await commitNow(tx, [upload]);
  if (result?.outcome === 'created' || result?.outcome === 'replaced') return undefined;
  return result?.outcome === 'conflict'
    ? 'its key is a directory'
    : `it could not be named (${result?.outcome})`;
}
