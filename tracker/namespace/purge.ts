// Empties what was detached from the tree: removed directories with all below, and dropped domains, in small batches.
import type { Database, Statement } from '../database/database.ts';

// Domains that are being rewound are left out: a rewind puts a tree that was removed into its place again.
const ENTERED = `WITH entered AS MATERIALIZED (
    SELECT m.id FROM (SELECT DISTINCT domain_id FROM dirs WHERE path >= '/' AND path < '0') d
    JOIN domains m ON m.id = d.domain_id WHERE enter_domain(m.id, m.rewound)
  )`;
const DETACHED = `entered e JOIN dirs d ON d.domain_id = e.id AND d.path >= '/' AND d.path < '0'`;
const purgeNames: Statement = {
  name: 'purge-names',
  text: `${ENTERED} DELETE FROM names WHERE (dir_id, name) IN (
      SELECT n.dir_id, n.name FROM ${DETACHED} JOIN names n ON n.dir_id = d.id LIMIT $1)`,
};
// A late upload may still hold a share of such a row. It is then not empty: 23503 runs the batch again.
const purgeDirs: Statement = {
  name: 'purge-dirs',
  text: `${ENTERED} DELETE FROM dirs WHERE id IN (
      SELECT d.id FROM ${DETACHED} WHERE NOT EXISTS (SELECT 1 FROM names n WHERE n.dir_id = d.id)
        AND NOT EXISTS (SELECT 1 FROM names n WHERE n.child_id = d.id) LIMIT $1)`,
};
const purgeDroppedTrash: Statement = {
  name: 'purge-dropped-trash',
  text: `DELETE FROM trash WHERE id IN (
      SELECT t.id FROM domains m JOIN trash t ON t.domain_id = m.id WHERE m.dropped IS NOT NULL LIMIT $1)`,
};
const purgeDroppedHistory: Statement = {
  name: 'purge-dropped-history',
  text: `DELETE FROM history WHERE id IN (
      SELECT h.id FROM domains m JOIN history h ON h.domain_id = m.id WHERE m.dropped IS NOT NULL LIMIT $1)`,
};
const emptyDropped = `dropped IS NOT NULL AND NOT EXISTS (SELECT 1 FROM dirs d WHERE d.domain_id = domains.id)
  AND NOT EXISTS (SELECT 1 FROM trash t WHERE t.domain_id = domains.id)
  AND NOT EXISTS (SELECT 1 FROM history h WHERE h.domain_id = domains.id)`;
const purgeDroppedClasses: Statement = {
  name: 'purge-dropped-classes',
  text: `DELETE FROM classes WHERE domain_id IN (SELECT id FROM domains WHERE ${emptyDropped})`,
};
const purgeDropped: Statement = { name: 'purge-dropped', text: `DELETE FROM domains WHERE ${emptyDropped}` };

/**
 * Removes up to `limit` names of detached directories (triggers send their versions to the trash), or, when none is
 * left, the directories' rows and what else a dropped domain leaves.
 * @returns how many rows went; 0 when there is nothing left to do
 */
export async function purgeDetached(db: Database, limit: number): Promise<number> {
  const names = await db.transaction((tx) => tx.count(purgeNames, [limit]));
  if (names > 0) return names;
  const dirs = await db.transaction((tx) => tx.count(purgeDirs, [limit]));
  if (dirs > 0) return dirs;
  return db.transaction(async (tx) => {
    for (const statement of [purgeDroppedTrash, purgeDroppedHistory]) {
      const versions = await tx.count(statement, [limit]);
      if (versions > 0) return versions;
    }
    const classes = await tx.count(purgeDroppedClasses);
    return classes + (await tx.count(purgeDropped));
  });
}
