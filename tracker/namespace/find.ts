// Look-ups: which file or directory a key names. Look-ups that arrive together share one statement. While the database is
// away, files that were looked up lately can be read from memory, for a while.
import { splitKey } from '../../services/keys.ts';
import type { ClusterState, DomainState } from '../cluster/state.ts';
import { Batcher } from '../database/batcher.ts';
import { type Database, isUnavailable, type Queryable, type Statement } from '../database/database.ts';
import { type Changed, RecentNames } from './recent.ts';
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

/** A look-up's answer, for reading. */
export interface ReadName {
  found: Found | undefined;
  /** Set if no primary of the database answers: for how many seconds. What was found may have changed since. */
  stale?: number;
}

export interface StaleReads {
  /** For how many seconds after the database went away names are remembered; 0: none are. */
  seconds: number;
  /** About how much memory that may take. */
  bytes: number;
}

/** Look-ups of many requests at once. */
export class Finder {
  readonly #db: Database;
  readonly #batcher: Batcher<LookUp, Found | undefined>;
  readonly #recent: RecentNames | undefined;
  readonly #staleSeconds: number;

  constructor(db: Database, state: ClusterState, { seconds, bytes }: StaleReads) {
    this.#db = db;
    this.#batcher = new Batcher((lookUps) => findNow(db, state, lookUps), { size: 256, concurrency: 2 });
    this.#recent = seconds > 0 && bytes > 0 ? new RecentNames(bytes) : undefined;
    this.#staleSeconds = seconds;
  }

  async find(domain: DomainState, key: string): Promise<Found | undefined> {
    const lookUp = { domainId: domain.id, key };
    if (this.#recent === undefined) return this.#batcher.add(lookUp);
    const order = this.#recent.lookUp();
    const found = await this.#batcher.add(lookUp);
    this.#recent.remember(domain.id, key, found, order);
    return found;
  }

  /** Like `find`; while no primary answers, what is remembered. */
  async read(domain: DomainState, key: string): Promise<ReadName> {
    try {
      return { found: await this.find(domain, key) };
    } catch (error) {
      if (!isUnavailable(error)) throw error;
      const away = await this.#db.away();
      // Only that connection was lost, or there is another primary.
      if (away === undefined) return { found: await this.find(domain, key) };
      const found = this.permits(away) ? this.#recent?.recall(domain.id, key) : undefined;
      if (found === undefined) throw error;
      return { found, stale: Math.ceil(away) };
    }
  }

  /** Whether what is remembered may be read, if no primary has answered for so many seconds. */
  permits(away: number): boolean {
    return this.#recent !== undefined && away <= this.#staleSeconds;
  }

  /** Does `work`, which changes what these keys name (`all`: any key): what was remembered of them is forgotten. */
  changing<T>(domain: DomainState, keys: Changed, work: (all: () => void) => Promise<T>): Promise<T> {
    return this.#recent === undefined ? work(() => {}) : this.#recent.forget(domain.id, keys, work);
  }
}
