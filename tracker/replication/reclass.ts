// Classes whose prefixes were changed: files that were there before, and whose class was chosen by their key, get the
// class that their key chooses now. Page by page, in the background; the position is in the database, so that any
// tracker goes on. Changes of a domain are done in their order.
import type { Database, Queryable, Statement } from '../database/database.ts';
import { demandFullScan } from './scan.ts';

const PAGE = 1_000;

const note: Statement = {
  name: 'reclass-note',
  text: 'INSERT INTO reclass (domain_id, former, present) VALUES ($1, $2, $3)',
};

/** A class, and what it is chosen for. */
export interface Choice {
  id: number;
  prefixes: string[];
}

/** Notes, in the transaction that changes the prefixes of a domain's classes, that its files are to follow. */
export async function noteReclass(
  tx: Queryable,
  domainId: number,
  former: Choice[],
  present: Choice[],
): Promise<void> {
  const text = (choices: Choice[]) => JSON.stringify(choices.map(({ id, prefixes }) => ({ id, prefixes })));
  if (text(former) !== text(present)) await tx.query(note, [domainId, text(former), text(present)]);
}

const findNext: Statement = {
  name: 'reclass-next',
  text: `SELECT r.id, r.domain_id AS "domainId", d.dropped IS NOT NULL AS dropped
    FROM reclass r JOIN domains d ON d.id = r.domain_id ORDER BY r.id LIMIT 1`,
};
const lockNext: Statement = {
  name: 'reclass-lock',
  text: `SELECT former, present, after_path AS path, after_name AS name FROM reclass WHERE id = $1 FOR UPDATE SKIP LOCKED`,
};

// A class that is gone by now is chosen no more. `was` tells files whose class was chosen by their key from those that
// were given one by name, which keep it.
export const reclassPage: Statement = {
  name: 'reclass-page',
  text: `WITH seen AS MATERIALIZED (
      SELECT id, path FROM dirs WHERE domain_id = $1 AND path >= $2 AND (path < '/' OR path >= '0') ORDER BY path LIMIT 50
    ), page AS MATERIALIZED (
      SELECT d.id, d.path, n.name FROM seen d, LATERAL (
        SELECT name FROM names WHERE dir_id = d.id AND fid IS NOT NULL AND (d.path > $2 OR name > $3) ORDER BY name LIMIT $6
      ) AS n ORDER BY d.path, n.name LIMIT $6
    ), fallback AS MATERIALIZED (SELECT id FROM classes WHERE domain_id = $1 AND name = 'default'),
    judged AS MATERIALIZED (
      SELECT p.id, p.name, coalesce(class_among($4, p.path || p.name), f.id) AS was,
        coalesce((SELECT c.id FROM classes c WHERE c.id = class_among($5, p.path || p.name)), f.id) AS shall
      FROM page p, fallback f
    ), changed AS (
      UPDATE names n SET class_id = j.shall FROM judged j
      WHERE n.dir_id = j.id AND n.name = j.name AND n.fid IS NOT NULL AND n.class_id = j.was AND j.was <> j.shall
      RETURNING n.fid
    )
    SELECT (SELECT count(*) FROM changed) AS changed, (SELECT count(*) FROM page) AS names,
      (SELECT count(*) FROM seen) AS dirs, (SELECT max(path) FROM seen) AS "lastDir",
      (SELECT json_build_object('path', path, 'name', name) FROM page ORDER BY path DESC, name DESC LIMIT 1) AS "lastName"`,
};

interface Page {
  changed: number;
  names: number;
  dirs: number;
  lastDir: string | null;
  lastName: { path: string; name: string } | null;
}

const move: Statement = {
  name: 'reclass-move',
  text: 'UPDATE reclass SET after_path = $2, after_name = $3 WHERE id = $1',
};
const done: Statement = { name: 'reclass-done', text: 'DELETE FROM reclass WHERE id = $1' };

/** Does one page of the oldest change. True if there is more to do. */
export async function reclassSome(db: Database): Promise<boolean> {
  const [next] = await db.query<{ id: number; domainId: number; dropped: boolean }>(findNext);
  if (next === undefined) return false;
  if (next.dropped) return (await db.count(done, [next.id])) > 0;
  // A domain that is being rewound is not entered: the loop comes again.
  return db.transaction((tx) => onePage(tx, next), `SELECT enter_domain(${next.domainId})`);
}

async function onePage(tx: Queryable, { id, domainId }: { id: number; domainId: number }): Promise<boolean> {
  const [at] = await tx.query<{ former: object; present: object; path: string; name: string | null }>(
    lockNext,
    [id],
  );
  if (at === undefined) return false;
  const [former, present] = [JSON.stringify(at.former), JSON.stringify(at.present)];
  const [page] = await tx.query<Page>(reclassPage, [domainId, at.path, at.name, former, present, PAGE]);
  const { names, dirs, lastDir, lastName } = page as Page;
  if (names === PAGE && lastName !== null) {
    await tx.query(move, [id, lastName.path, lastName.name]);
  } else if (lastDir !== null && (dirs > 1 || lastDir > at.path)) {
    // All of these directories was seen; no name comes after null.
    await tx.query(move, [id, lastDir, null]);
  } else {
    await tx.query(done, [id]);
    // What the files want is told by their classes: the scan raises and lowers it.
    await demandFullScan(tx);
  }
  return true;
}
