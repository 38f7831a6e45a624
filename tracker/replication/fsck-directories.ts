// The directories: is each where its name says, and has each domain its root? See fsck.ts. Whoever changes a directory
// changes its name and its path in one transaction, and a page is one statement: there is nothing between.
import type { Database, Statement } from '../database/database.ts';
import { type Finding, type FsckPage, REPORT } from './fsck.ts';

const PAGE = 10_000;

// A removed tree stands under '/<id>/' until it is purged.
const lookAt: Statement = {
  name: 'fsck-directories',
  text: `SELECT d.id, d.path, m.name AS domain,
      d.path = '' OR (d.path >= '/' AND d.path < '0')
        OR coalesce(p.domain_id = d.domain_id AND d.path = p.path || n.name || '/', false) AS sound
    FROM (SELECT * FROM dirs WHERE id > $1 AND ($3::int IS NULL OR domain_id = $3) ORDER BY id LIMIT $2) d
    JOIN domains m ON m.id = d.domain_id
    LEFT JOIN names n ON n.child_id = d.id LEFT JOIN dirs p ON p.id = n.dir_id ORDER BY d.id`,
};

const rootless: Statement = {
  name: 'fsck-rootless',
  text: `SELECT m.name AS domain FROM domains m WHERE m.dropped IS NULL AND ($1::int IS NULL OR m.id = $1)
    AND NOT EXISTS (SELECT FROM dirs d WHERE d.domain_id = m.id AND d.path = '')`,
};

interface Looked {
  id: number;
  path: string;
  domain: string;
  sound: boolean;
}

/** Looks at the directories after the one with the id `after`; the first page looks at the domains' roots as well. */
export async function fsckDirectories(
  db: Database,
  { after, limit = PAGE, domainId }: { after: number; limit?: number; domainId?: number | undefined },
): Promise<FsckPage> {
  const domain = domainId ?? null;
  const rows = await db.query<Looked>(lookAt, [after, limit, domain]);
  const roots = after > 0 ? [] : await db.query<{ domain: string }>(rootless, [domain]);
  const last = rows.at(-1)?.id;
  return {
    compared: rows.length,
    bytes: 0,
    findings: [
      ...roots.map((root) => finding(root.domain, '', 'the domain has no root directory')),
      ...rows
        .filter(({ sound }) => !sound)
        .map((row) => finding(row.domain, row.path, 'the directory is not where its name says, or has none')),
    ],
    ...(rows.length === limit && last !== undefined ? { next: last } : {}),
  };
}

function finding(domain: string, key: string, what: string): Finding {
  return { kind: 'directory', fid: null, device: null, host: null, domain, key, what, next: REPORT };
}
