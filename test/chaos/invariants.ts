// The invariants of docs/consistency.md, as questions to the database: each must find nothing.
import type pg from 'pg';

const broken: Record<string, string> = {
  'a fid was handed out that the counter has not passed':
    'SELECT fid FROM blobs WHERE fid >= (SELECT next_fid FROM cluster)',
  'a name points to no live blob': `SELECT n.name, n.fid FROM names n LEFT JOIN blobs b ON b.fid = n.fid
    WHERE n.fid IS NOT NULL AND b.state IS DISTINCT FROM 'live'`,
  'a version in the trash points to no live blob': `SELECT t.key, t.fid FROM trash t LEFT JOIN blobs b ON b.fid = t.fid
    WHERE b.state IS DISTINCT FROM 'live'`,
  'a live blob is not named, not in the trash and not queued for reaping': `SELECT b.fid FROM blobs b
    WHERE b.state = 'live' AND NOT EXISTS (SELECT FROM names n WHERE n.fid = b.fid)
      AND NOT EXISTS (SELECT FROM trash t WHERE t.fid = b.fid) AND NOT EXISTS (SELECT FROM reap r WHERE r.fid = b.fid)`,
  'a blob that is gone or void has a name': `SELECT b.fid FROM blobs b JOIN names n ON n.fid = b.fid WHERE b.state <> 'live'`,
  'a name is a file and a directory': `SELECT d.path || n.name AS key FROM names n JOIN dirs d ON d.id = n.dir_id
    JOIN dirs twin ON twin.domain_id = d.domain_id AND twin.path = d.path || n.name || '/' WHERE n.fid IS NOT NULL`,
  'a directory does not stand where its name says': `SELECT c.path FROM dirs c
    LEFT JOIN names n ON n.child_id = c.id LEFT JOIN dirs p ON p.id = n.dir_id
    WHERE c.path <> '' AND NOT (c.path >= '/' AND c.path < '0')
      AND (p.id IS NULL OR p.domain_id <> c.domain_id OR c.path <> p.path || n.name || '/')`,
  'a removed tree was not purged': `SELECT path FROM dirs WHERE path >= '/' AND path < '0'`,
  'a good replica has no live blob': `SELECT l.fid, l.device_id FROM locations l LEFT JOIN blobs b ON b.fid = l.fid
    WHERE l.state = 'good' AND b.state IS DISTINCT FROM 'live'`,
  'a blob has two good replicas on one host': `SELECT l.fid, d.host_id FROM locations l JOIN devices d ON d.id = l.device_id
    WHERE l.state = 'good' GROUP BY l.fid, d.host_id HAVING count(*) > 1`,
  'a file has fewer copies than its classes want': `SELECT b.fid, b.want FROM blobs b WHERE b.state = 'live'
    AND EXISTS (SELECT FROM names n WHERE n.fid = b.fid UNION ALL SELECT FROM trash t WHERE t.fid = b.fid)
    AND (SELECT count(DISTINCT d.host_id) FROM locations l JOIN devices d ON d.id = l.device_id
      WHERE l.fid = b.fid AND l.state = 'good' AND d.state <> 'dead') < (SELECT max(c.copies) FROM classes c
      WHERE c.id IN (SELECT class_id FROM names WHERE fid = b.fid UNION SELECT class_id FROM trash WHERE fid = b.fid))`,
  'a bad replica was not dealt with': `SELECT fid, device_id FROM locations WHERE state = 'bad'`,
};

/** What is wrong, in words with a few examples each. */
export async function brokenInvariants(db: pg.Pool): Promise<string[]> {
  const found: string[] = [];
  for (const [what, text] of Object.entries(broken)) {
    const { rows } = await db.query(text);
    if (rows.length > 0) found.push(`${what} (${rows.length}): ${JSON.stringify(rows.slice(0, 5))}`);
  }
  return found;
}
