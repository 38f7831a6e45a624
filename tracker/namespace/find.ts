// Look-ups: which file or directory a key names. Look-ups that arrive together share one statement.
import { splitKey } from '../../services/keys.ts';
import type { ClusterState, DomainState } from '../cluster/state.ts';
import { Batcher } from '../database/batcher.ts';
import type { Queryable, Statement } from '../database/database.ts';
import type { Found, Meta } from './types.ts';

interface NameRow {
  i: number;
  fid: number | null;
  class_id: number;
  content_type: string;
  mtime: number;
  meta: Meta | null;
  size: number;
  sha256: string;
  devices: number[] | null;
}

/** The columns of a name and its blob, as `foundFrom` reads them; `n` and `b` are the tables' aliases. */
export const FOUND_COLUMNS = `n.fid, n.class_id, n.content_type, (extract(epoch FROM n.mtime) * 1000)::float8 AS mtime,
  n.meta, b.size, encode(b.sha256, 'hex') AS sha256`;

const findNames: Statement = {
  name: 'find-names',
  text: `SELECT q.i::int AS i, ${FOUND_COLUMNS},
      ARRAY(SELECT l.device_id FROM locations l WHERE l.fid = n.fid AND l.state = 'good') AS devices
    FROM unnest($1::int[], $2::text[], $3::text[]) WITH ORDINALITY AS q (domain_id, path, name, i)
    JOIN dirs d ON d.domain_id = q.domain_id AND d.path = q.path
    JOIN names n ON n.dir_id = d.id AND n.name = q.name
    LEFT JOIN blobs b ON b.fid = n.fid`,
};

interface LookUp {
  domainId: number;
  key: string;
}

/** Runs look-ups in one statement; undefined for keys that name nothing. `db` may be a transaction. */
export async function findNow(
  db: Queryable,
  state: ClusterState,
  lookUps: LookUp[],
): Promise<(Found | undefined)[]> {
  const paths: string[] = [];
  const names: string[] = [];
  for (const { key } of lookUps) {
    const { path, name } = splitKey(key);
    paths.push(path);
    names.push(name);
  }
  const rows = await db.query<NameRow>(findNames, [lookUps.map((lookUp) => lookUp.domainId), paths, names]);
  const found = new Array<Found | undefined>(lookUps.length).fill(undefined);
  for (const row of rows) found[row.i - 1] = await foundFrom(state, (lookUps[row.i - 1] as LookUp).key, row);
  return found;
}

/** Makes a Found of a row with FOUND_COLUMNS. */
export async function foundFrom(
  state: ClusterState,
  key: string,
  row: Omit<NameRow, 'i' | 'devices'> & { devices?: number[] | null },
): Promise<Found> {
  const mtime = new Date(row.mtime);
  if (row.fid === null) return { kind: 'directory', key, mtime };
  // A class that another tracker made just now is not in this tracker's snapshot yet.
  if (state.classById(row.class_id) === undefined) await state.refresh();
  return {
    kind: 'file',
    key,
    fid: row.fid,
    size: row.size,
    sha256: row.sha256,
    contentType: row.content_type,
    mtime,
    classId: row.class_id,
    class: state.classById(row.class_id)?.name ?? 'default',
    meta: row.meta ?? {},
    devices: row.devices ?? [],
  };
}

/** Look-ups of many requests at once. */
export class Finder {
  readonly #batcher: Batcher<LookUp, Found | undefined>;

  constructor(db: Queryable, state: ClusterState) {
    this.#batcher = new Batcher((lookUps) => findNow(db, state, lookUps), { size: 256, concurrency: 2 });
  }

  find(domain: DomainState, key: string): Promise<Found | undefined> {
    return this.#batcher.add({ domainId: domain.id, key });
  }
}
