// Carries out a planned rewind (rewind-plan.ts), in the same transaction. What it changes is history in turn, by
// trigger, so that it can be undone by another rewind.
import type { DomainState } from '../cluster/state.ts';
import type { Queryable } from '../database/database.ts';
import { long, type RewindCounts } from './rewind-plan.ts';

// In the reaper's order, so that they cannot deadlock. Shared, what lives stays alive until it has its name.
const shareBlobs = long(
  'share-blobs',
  `SELECT count(*) FROM (SELECT b.fid FROM blobs b WHERE b.fid IN (SELECT fid FROM rewind_files WHERE NOT lost)
    AND b.state = 'live' ORDER BY b.fid FOR KEY SHARE) AS shared`,
);
// A statement of its own: it sees what was reaped while the lock was waited for.
const markLost = long(
  'mark-lost',
  `UPDATE rewind_files f SET lost = true WHERE NOT lost
    AND NOT EXISTS (SELECT FROM blobs b WHERE b.fid = f.fid AND b.state = 'live')`,
);

/** Makes sure that the bytes of what comes back stay; what has lost them is marked. */
export async function holdBlobs(tx: Queryable): Promise<void> {
  await tx.query(shareBlobs);
  await tx.query(markLost);
}

const sayRewound = long('say-rewound', `SELECT set_config('cistern.unnaming', 'rewound', true)`);
const deleteGone = long(
  'delete-gone',
  'DELETE FROM names n USING rewind_gone g WHERE n.dir_id = g.dir_id AND n.name = g.name',
);
const deleteDirs = long(
  'delete-dirs',
  `DELETE FROM dirs d WHERE d.domain_id = $1 AND NOT (d.path >= '/' AND d.path < '0')
    AND NOT EXISTS (SELECT FROM rewind_dirs w WHERE w.id = d.id)`,
);
// Paths are unique at every moment, and two directories may have to change places: all go through a path of their own.
const unplaceDirs = long(
  'unplace-dirs',
  `UPDATE dirs d SET path = '/rewound/' || d.id || '/' FROM rewind_dirs w WHERE w.id = d.id AND d.path <> w.path`,
);
const insertDirs = long(
  'insert-dirs',
  `INSERT INTO dirs (id, domain_id, path) OVERRIDING SYSTEM VALUE
    SELECT w.id, $1, w.path FROM rewind_dirs w WHERE NOT EXISTS (SELECT FROM dirs d WHERE d.id = w.id)`,
);
const placeDirs = long(
  'place-dirs',
  'UPDATE dirs d SET path = w.path FROM rewind_dirs w WHERE w.id = d.id AND d.path <> w.path',
);
const nameDirs = long(
  'name-dirs',
  `INSERT INTO names (dir_id, name, child_id, mtime)
    SELECT w.dir_id, w.name, w.id, w.mtime FROM rewind_dirs w WHERE w.dir_id IS NOT NULL
      AND NOT EXISTS (SELECT FROM names n WHERE n.dir_id = w.dir_id AND n.name = w.name)
    ORDER BY w.dir_id, w.name`,
);
// A class may have been removed since: history does not hold it back. The key then chooses one.
const nameFiles = long(
  'name-files',
  `INSERT INTO names (dir_id, name, fid, class_id, content_type, mtime, meta)
    SELECT f.dir_id, f.name, f.fid, coalesce(c.id, class_for($1, f.key)), f.content_type, f.mtime, f.meta
    FROM rewind_files f LEFT JOIN classes c ON c.id = f.class_id WHERE NOT f.lost ORDER BY f.dir_id, f.name`,
);
// What came back, and what only changed its place, is not in the trash.
const emptyTrash = long(
  'empty-trash',
  `DELETE FROM trash t WHERE t.domain_id = $1 AND (
    t.id IN (SELECT trash_id FROM rewind_files WHERE NOT lost)
    OR t.at = writing_at() AND t.fid IN (SELECT fid FROM rewind_files WHERE NOT lost))`,
);
// A blob wants the most that any of its names wants. Bytes that are back are not refused for lack of copies, as a copy
// into a stricter class is: they were acknowledged. The copies come by repair.
const raiseWants = long(
  'raise-wants',
  `WITH raised AS (
      UPDATE blobs b SET want = w.copies FROM (
        SELECT f.fid, max(c.copies) AS copies FROM rewind_files f JOIN names n ON n.dir_id = f.dir_id AND n.name = f.name
          JOIN classes c ON c.id = n.class_id WHERE NOT f.lost GROUP BY f.fid
      ) w WHERE b.fid = w.fid AND b.want < w.copies RETURNING b.fid
    )
    INSERT INTO repair (fid, copies) SELECT r.fid, (SELECT count(DISTINCT v.host_id) FROM locations l
      JOIN devices v ON v.id = l.device_id WHERE l.fid = r.fid AND l.state = 'good' AND v.state <> 'dead')
    FROM raised r ORDER BY r.fid
    ON CONFLICT (fid) DO UPDATE SET version = repair.version + 1, copies = excluded.copies, next_try = now()`,
);
const rememberRoot = long(
  'remember-root',
  `INSERT INTO history (domain_id, dir_id, name, child_id, mtime, since, until)
    SELECT $1, 0, '', d.id, writing_at(), '-infinity', writing_at() FROM dirs d
    WHERE d.domain_id = $1 AND d.path = '' AND NOT EXISTS (SELECT FROM rewind_dirs w WHERE w.id = d.id)`,
);
const count = long('count', 'UPDATE domains SET rewound = rewound + 1 WHERE id = $1');
const record = long(
  'record',
  `INSERT INTO rewinds (domain_id, at, target, counts) VALUES ($1, writing_at(), $2::timestamptz, $3)`,
);

/** Carries out what was planned. The domain is ours alone, and the blobs are held. */
export async function applyRewind(
  tx: Queryable,
  domain: DomainState,
  target: string,
  counts: RewindCounts,
): Promise<void> {
  await tx.query(sayRewound);
  await tx.query(rememberRoot, [domain.id]);
  await tx.query(deleteGone);
  await tx.query(deleteDirs, [domain.id]);
  await tx.query(unplaceDirs);
  await tx.query(insertDirs, [domain.id]);
  await tx.query(placeDirs);
  await tx.query(nameDirs);
  await tx.query(nameFiles, [domain.id]);
  await tx.query(emptyTrash, [domain.id]);
  await tx.query(raiseWants);
  await tx.query(count, [domain.id]);
  await tx.query(record, [domain.id, target, JSON.stringify(counts)]);
}
