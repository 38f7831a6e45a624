// One device against the database, page by page: what its node lists and what the locations say. See fsck.ts.
//
// The proof that something is wrong has three steps: rows that are read after the first listing say so, a second
// listing begins after that and says so too, and the rows that are read after that are still the same. A replica is
// durable before its row is good, and is unlinked only after its row was 'removing'; so a row that was good all the
// time between, and a listing within that time without the replica, cannot both be right.
import pLimit from 'p-limit';
import { Problem } from '../../services/problems.ts';
import type { DeviceState } from '../cluster/state.ts';
import type { Statement } from '../database/database.ts';
import { inspect } from './findings.ts';
import { type Finding, type FindingKind, type FsckPage, nameFindings } from './fsck.ts';
import type { Parts } from './parts.ts';
import { isOlder, sweepFrom, uncountedGrace } from './sweep.ts';

/** Replicas that are listed at once. */
const LISTED = 10_000;
/** Rows that are compared at once; more, where rows stand for which nothing is listed. */
const MOST_ROWS = 20_000;
/** Bytes that are read again for one page, and how many replicas at once. */
const VERIFY_BYTES = 256 * 1024 * 1024;
const VERIFY_AT_ONCE = 4;

/** What a look at a device needs. */
export type Needed = Pick<Parts, 'db' | 'state' | 'nodes'> & {
  config: Pick<Parts['config'], 'CISTERN_SWEEP_AFTER_SECONDS'>;
};

interface Listed {
  fid: number;
  size: number;
  at: number;
}

interface Row {
  fid: number;
  state: 'good' | 'bad' | 'removing';
  /** When it came into this state, exactly: the same row has the same. */
  at: string;
  blob: 'live' | 'gone' | 'void' | null;
  size: number | null;
  sha256: string | null;
}

const readRows: Statement = {
  name: 'fsck-rows',
  text: `SELECT l.fid, l.state, l.at::text AS at, b.state AS blob, b.size,
      CASE WHEN $5 THEN encode(b.sha256, 'hex') END AS sha256
    FROM locations l LEFT JOIN blobs b ON b.fid = l.fid
    WHERE l.device_id = $1 AND l.fid > $2 AND l.fid <= $3 ORDER BY l.fid LIMIT $4`,
};

const readRowsAgain: Statement = {
  name: 'fsck-rows-again',
  text: `SELECT l.fid, l.state, l.at::text AS at, b.state AS blob, b.size, NULL AS sha256
    FROM locations l LEFT JOIN blobs b ON b.fid = l.fid WHERE l.device_id = $1 AND l.fid = ANY ($2::bigint[])`,
};

const readBlobs: Statement = {
  name: 'fsck-blobs',
  text: 'SELECT fid, state FROM blobs WHERE fid = ANY ($1::bigint[])',
};

export interface DeviceLook {
  after: number;
  /** Replicas to list at most. */
  limit?: number;
  /** Have the node read all replicas again and compare their digests. */
  verify: boolean;
  domainId?: number;
  signal?: AbortSignal;
}

/**
 * Compares the replicas after fid `after`.
 * @throws Problem device-unavailable ..., NodeUnreachable if the node cannot tell
 */
export async function fsckDevice(parts: Needed, device: DeviceState, look: DeviceLook): Promise<FsckPage> {
  const { db, nodes } = parts;
  const { after, verify, signal } = look;
  const page = await nodes.inventory(device, { after, limit: look.limit ?? LISTED, signal });
  const last = verify ? lastWithin(page.blobs, VERIFY_BYTES) : undefined;
  const listedTo = last ?? page.next;
  const rows = await db.query<Row>(readRows, [
    device.id,
    after,
    listedTo ?? Number.MAX_SAFE_INTEGER,
    MOST_ROWS,
    verify,
  ]);
  // A range with more rows than that is compared as far as they were read.
  const next = rows.length === MOST_ROWS ? rows.at(-1)?.fid : listedTo;
  const listed = page.blobs.filter(({ fid }) => next === undefined || fid <= next);
  const suspects = await suspicions(parts, device, listed, rows, look);
  const confirmed = await confirm(parts, device, suspects, new Map(rows.map((row) => [row.fid, row])));
  return {
    compared: new Set([...listed, ...rows].map(({ fid }) => fid)).size,
    bytes: listed.reduce((sum, { size }) => sum + size, 0),
    findings: await nameFindings(db, await describe(parts, device, confirmed), look.domainId),
    ...(next === undefined ? {} : { next }),
  };
}

/** The fid up to which there are `bytes` bytes; undefined if all of it is. */
function lastWithin(blobs: Listed[], bytes: number): number | undefined {
  let sum = 0;
  const end = blobs.findIndex(({ size }) => {
    sum += size;
    return sum > bytes;
  });
  return end < 0 || end === blobs.length - 1 ? undefined : blobs[end]?.fid;
}

type Suspects = Map<number, FindingKind>;

interface Confirmed {
  fid: number;
  kind: FindingKind;
  /** The database knows the fid; a commit of it will fail. */
  burned: boolean;
}

/** What looks wrong at the first look: a page that was listed, and the rows that were read after it. */
export async function suspicions(
  parts: Needed,
  device: DeviceState,
  listed: Listed[],
  rows: Row[],
  { verify, signal }: DeviceLook,
): Promise<Suspects> {
  const suspects: Suspects = new Map();
  const located = new Map(rows.map((row) => [row.fid, row]));
  const present = new Set<number>();
  const without: Listed[] = [];
  const sound: { fid: number; size: number; sha256: string }[] = [];
  for (const replica of listed) {
    const { fid, size } = replica;
    const row = located.get(fid);
    present.add(fid);
    if (row === undefined) without.push(replica);
    else if (row.state !== 'good' || row.blob !== 'live') continue;
    else if (row.size !== size) suspects.set(fid, 'size');
    else if (row.sha256 !== null) sound.push({ fid, size, sha256: row.sha256 });
  }
  for (const { fid, state, blob } of rows) {
    if (state === 'good' && blob === 'live' && !present.has(fid)) suspects.set(fid, 'missing');
  }
  for (const [fid, kind] of await judgeUncounted(parts, device, without)) suspects.set(fid, kind);
  if (!verify) return suspects;
  const limit = pLimit(VERIFY_AT_ONCE);
  const read = async (blob: (typeof sound)[number]) => {
    const verdict = await inspect(parts.nodes, device, blob, signal);
    if (verdict === 'unknown') {
      throw new Problem('device-unavailable', `Device ${device.id} could not read blob ${blob.fid} again.`);
    }
    if (verdict !== 'good') suspects.set(blob.fid, verdict === 'corrupt' ? 'digest' : verdict);
  };
  await Promise.all(sound.map((blob) => limit(read, blob)));
  return suspects;
}

/** What is listed and has no row: an upload that was never committed, or a copy that nobody counts. */
async function judgeUncounted(parts: Needed, device: DeviceState, replicas: Listed[]): Promise<Suspects> {
  if (replicas.length === 0) return new Map();
  const rows = await parts.db.query<{ fid: number; state: string }>(readBlobs, [
    replicas.map(({ fid }) => fid),
  ]);
  const blobs = new Map(rows.map(({ fid, state }) => [fid, state]));
  return new Map(
    replicas.flatMap(({ fid, at }): [number, FindingKind][] => {
      const live = blobs.get(fid) === 'live';
      // An upload may take as long as the sweep leaves it.
      const grace = blobs.has(fid) ? uncountedGrace(parts) : parts.config.CISTERN_SWEEP_AFTER_SECONDS;
      if (!isOlder(parts, device, at, grace)) return [];
      return [[fid, live ? 'uncounted' : 'unknown']];
    }),
  );
}

/** What is still so at the second listing, and with the same rows after it. */
async function confirm(
  { db, nodes }: Needed,
  device: DeviceState,
  suspects: Suspects,
  rows: ReadonlyMap<number, Row>,
): Promise<Confirmed[]> {
  if (suspects.size === 0) return [];
  const fids = [...suspects.keys()].sort((a, b) => a - b);
  const listed = await listBetween(nodes, device, fids[0] as number, fids.at(-1) as number);
  const again = await db.query<Row>(readRowsAgain, [device.id, fids]);
  const after = new Map(again.map((row) => [row.fid, row]));
  const blobs = new Map(
    (await db.query<{ fid: number; state: string }>(readBlobs, [fids])).map((blob) => [blob.fid, blob.state]),
  );
  const isSo = (fid: number, kind: FindingKind) => {
    const [row, now] = [rows.get(fid), after.get(fid)];
    if (kind === 'uncounted' || kind === 'unknown') {
      return listed.has(fid) && now === undefined && (blobs.get(fid) === 'live') === (kind === 'uncounted');
    }
    if (now === undefined || now.state !== 'good' || now.at !== row?.at || now.blob !== 'live') return false;
    if (kind === 'missing') return !listed.has(fid);
    if (kind === 'size') return listed.has(fid) && listed.get(fid) !== row.size;
    return true;
  };
  return fids.flatMap((fid) => {
    const kind = suspects.get(fid) as FindingKind;
    return isSo(fid, kind) ? [{ fid, kind, burned: blobs.has(fid) }] : [];
  });
}

/** Fid and size of all that the device holds from `first` to `last`. */
async function listBetween(
  nodes: Needed['nodes'],
  device: DeviceState,
  first: number,
  last: number,
): Promise<Map<number, number>> {
  const listed = new Map<number, number>();
  for (let after: number | undefined = first - 1; after !== undefined && after < last; ) {
    const limit = Math.min(LISTED, last - after);
    const page: Awaited<ReturnType<typeof nodes.inventory>> = await nodes.inventory(device, { after, limit });
    for (const { fid, size } of page.blobs) listed.set(fid, size);
    after = page.next;
  }
  return listed;
}

const texts: Partial<Record<FindingKind, [what: string, next: string]>> = {
  missing: ['the copy is not on the disk', 'cistern repair --verify'],
  size: ['the copy has another size', 'cistern repair --verify'],
  digest: ['the copy has other bytes', 'cistern repair --verify'],
  unreadable: ['the disk cannot read the copy', 'cistern repair --verify; look after the disk'],
  uncounted: ['a copy that nobody counts', 'nothing: the sweep will count or remove it'],
};

async function describe({ db }: Needed, device: DeviceState, found: Confirmed[]) {
  if (found.length === 0) return [];
  const [from] = await db.query<{ fid: number }>(sweepFrom);
  return found.map(({ fid, kind, burned }): Omit<Finding, 'domain' | 'key'> => {
    const swept = burned || fid >= (from?.fid ?? Number.MAX_SAFE_INTEGER);
    const [what, next] = texts[kind] ?? [
      'bytes that no file needs',
      swept ? 'nothing: the sweep will remove them' : 'nothing: kept, they may be from before a restore',
    ];
    return { kind, fid, device: device.id, host: device.host.name, what, next };
  });
}
