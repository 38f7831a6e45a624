// What a blob is called: one of its names, or the key under which it lies in the trash.
import type { Queryable, Statement } from '../database/database.ts';

/**
 * A LATERAL subquery over `fid` (an SQL expression) with columns domain, key and class, in the order of preference.
 * Paths of a removed tree that is still being purged begin with '/<id>/', which no key does.
 */
export const nameOf = (fid: string) => `LATERAL (
    (SELECT m.name AS domain, CASE WHEN d.path LIKE '/%' THEN substring(d.path FROM '^/[0-9]+/(.*)$') ELSE d.path END
        || n.name AS key, c.name AS class
      FROM names n JOIN dirs d ON d.id = n.dir_id JOIN domains m ON m.id = d.domain_id JOIN classes c ON c.id = n.class_id
      WHERE n.fid = ${fid} LIMIT 1)
    UNION ALL
    (SELECT m.name, t.key, c.name FROM trash t JOIN domains m ON m.id = t.domain_id JOIN classes c ON c.id = t.class_id
      WHERE t.fid = ${fid} LIMIT 1)
    LIMIT 1)`;

const findOne: Statement = {
  name: 'names-of-blob',
  text: `SELECT name.* FROM ${nameOf('$1::bigint')} AS name`,
};

export interface Named {
  domain: string;
  key: string;
  class: string;
}

/** One of the blob's names, or undefined if nothing names it any more. */
export async function findName(db: Queryable, fid: number): Promise<Named | undefined> {
  const [row] = await db.query<Named>(findOne, [fid]);
  return row;
}
