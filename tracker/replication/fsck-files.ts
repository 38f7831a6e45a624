// Names, blobs and locations against each other, by fid; see fsck.ts. What one statement shows was so at one instant,
// so a page needs no second look: only what is on its way (a repair that was queued just now, a copy that was made just
// now and will be trimmed) is passed over, by age.
import type { Database, Statement } from '../database/database.ts';
import { type Finding, type FsckPage, nameFindings, REPORT, YOUNG_SECONDS } from './fsck.ts';
import { type Parts, readableDevices } from './parts.ts';
import { inDomain, wantedOf } from './scan.ts';

const PAGE = 10_000;

const lookAt: Statement = {
  name: 'fsck-files',
  text: `WITH batch AS MATERIALIZED (SELECT fid, state, size FROM blobs WHERE fid > $1 ORDER BY fid LIMIT $2)
    SELECT b.fid, b.state, b.size, ${wantedOf('b.fid')} AS wanted, l.good, l.hosts, l.staying, l.bad,
      coalesce(l.newest > now() - $4 * interval '1 second', false) AS young,
      ($3::int IS NULL OR ${inDomain('b.fid', '$3')}) AS mine
    FROM batch b, LATERAL (
      SELECT (count(*) FILTER (WHERE l.state = 'good' AND d.state <> 'dead'))::int AS good,
        (count(DISTINCT d.host_id) FILTER (WHERE l.state = 'good' AND d.state <> 'dead'))::int AS hosts,
        (count(DISTINCT d.host_id) FILTER (
          WHERE l.state = 'good' AND d.state NOT IN ('dead', 'drain') AND d.id = ANY ($5::int[])))::int AS staying,
        (count(*) FILTER (WHERE l.state = 'bad'))::int AS bad,
        max(l.at) FILTER (WHERE l.state <> 'removing') AS newest
      FROM locations l JOIN devices d ON d.id = l.device_id WHERE l.fid = b.fid
    ) AS l ORDER BY b.fid`,
};

interface Looked {
  fid: number;
  state: 'live' | 'gone' | 'void';
  size: number;
  /** Null: nothing names it. */
  wanted: number | null;
  good: number;
  hosts: number;
  /** Hosts whose copy can be read and is not to leave: others are made up for before they go. */
  staying: number;
  bad: number;
  young: boolean;
  mine: boolean;
}

// A need that was queued just now and did not fail yet is on its way.
const onTheirWay: Statement = {
  name: 'fsck-on-their-way',
  text: `SELECT fid FROM repair WHERE fid = ANY ($1::bigint[]) AND why IS NULL AND at > now() - $2 * interval '1 second'`,
};

// All of it in one statement: the reaper takes a blob and its row here in one transaction.
const unreaped: Statement = {
  name: 'fsck-unreaped',
  text: `SELECT b.fid FROM blobs b WHERE b.fid = ANY ($1::bigint[]) AND b.state = 'live'
      AND NOT EXISTS (SELECT FROM names n WHERE n.fid = b.fid)
      AND NOT EXISTS (SELECT FROM trash t WHERE t.fid = b.fid)
      AND b.fid NOT IN (SELECT r.fid FROM reap r WHERE r.fid = ANY ($1::bigint[]))`,
};

const ownerless: Statement = {
  name: 'fsck-ownerless',
  text: `SELECT 'dangling' AS kind, u.fid, NULL::int AS device FROM (
        SELECT fid FROM names WHERE fid > $1 AND fid <= $2 UNION SELECT fid FROM trash WHERE fid > $1 AND fid <= $2
      ) u WHERE NOT EXISTS (SELECT FROM blobs b WHERE b.fid = u.fid AND b.state = 'live' OFFSET 0)
    UNION ALL
    SELECT 'orphan', l.fid, l.device_id FROM locations l
      WHERE l.fid > $1 AND l.fid <= $2 AND l.state <> 'removing'
        AND NOT EXISTS (SELECT FROM blobs b WHERE b.fid = l.fid AND b.state = 'live' OFFSET 0)`,
};

type Unnamed = Omit<Finding, 'domain' | 'key'>;

/** Looks at the blobs after fid `after`; with `domainId`, reports on those that this domain names. */
export async function fsckFiles(
  { db, state }: Pick<Parts, 'db' | 'state'>,
  { after, limit = PAGE, domainId }: { after: number; limit?: number; domainId?: number | undefined },
): Promise<FsckPage> {
  const values = [after, limit, domainId ?? null, YOUNG_SECONDS, readableDevices(state)];
  const rows = await db.query<Looked>(lookAt, values);
  const next = rows.length === limit ? rows.at(-1)?.fid : undefined;
  const mine = rows.filter((row) => row.mine && row.state === 'live');
  const findings = [
    ...(await notAsWanted(
      db,
      mine.filter((row) => row.wanted !== null),
    )),
    ...(await unnamed(
      db,
      mine.filter((row) => row.wanted === null),
    )),
    ...(await withoutBlob(db, after, next ?? Number.MAX_SAFE_INTEGER)),
  ];
  return {
    compared: mine.length,
    bytes: mine.reduce((sum, { size }) => sum + size, 0),
    findings: await nameFindings(db, findings, domainId),
    ...(next === undefined ? {} : { next }),
  };
}

/** Blobs whose copies are not as their classes want them. */
async function notAsWanted(db: Database, rows: Looked[]): Promise<Unnamed[]> {
  const judged = rows.flatMap((row) => judge(row));
  if (judged.length === 0) return [];
  const fids = judged.map(({ fid }) => fid);
  const coming = await db.query<{ fid: number }>(onTheirWay, [fids, YOUNG_SECONDS]);
  const soon = new Set(coming.map(({ fid }) => fid));
  return judged.filter(({ fid }) => !soon.has(fid as number));
}

function judge({ fid, wanted, good, hosts, staying, bad, young }: Looked): Unnamed[] {
  const want = wanted as number;
  const found = (kind: Finding['kind'], what: string, next: string): Unnamed => {
    return { kind, fid, device: null, host: null, what, next };
  };
  if (hosts < want) {
    const what = hosts === 0 ? 'no good copy is left' : `good copies on ${hosts} of ${want} hosts`;
    return [found('copies', what, 'cistern repair')];
  }
  if (young) return [];
  if (bad > 0) return [found('bad', 'a copy is known to be bad and was not cleaned up', 'cistern repair')];
  if (good > hosts) return [found('misplaced', 'two copies are on one host', 'cistern repair')];
  if (staying > want) {
    return [found('surplus', `copies on ${staying} hosts, ${want} are wanted`, 'cistern repair')];
  }
  return [];
}

async function unnamed(db: Database, rows: Looked[]): Promise<Unnamed[]> {
  if (rows.length === 0) return [];
  const left = await db.query<{ fid: number }>(unreaped, [rows.map(({ fid }) => fid)]);
  const what = 'a blob without a name, a version in the trash, or a turn with the reaper';
  return left.map(({ fid }) => ({ kind: 'unnamed', fid, device: null, host: null, what, next: REPORT }));
}

async function withoutBlob(db: Database, after: number, to: number): Promise<Unnamed[]> {
  const rows = await db.query<{ kind: 'dangling' | 'orphan'; fid: number; device: number | null }>(
    ownerless,
    [after, to],
  );
  return rows.map(({ kind, fid, device }) => ({
    kind,
    fid,
    device,
    host: null,
    what:
      kind === 'dangling'
        ? 'a name without a living blob'
        : 'a copy is counted for a blob that does not live',
    next: kind === 'dangling' ? 'store the file again, or restore a backup' : REPORT,
  }));
}
