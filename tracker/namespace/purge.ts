// Empties what was detached from the tree: removed directories with all below, and dropped domains, in small batches.
import type { Database, Statement } from '../database/database.ts';

const purgeNames: Statement = {
  name: 'purge-names',
  text: `DELETE FROM names WHERE (dir_id, name) IN (
      SELECT n.dir_id, n.name FROM dirs d JOIN names n ON n.dir_id = d.id
      WHERE d.path >= '/' AND d.path < '0' LIMIT $1)`,
};
// A late upload may still hold a share of such a row. It is then not empty: 23503 runs the batch again.
const purgeDirs: Statement = {
  name: 'purge-dirs',
  text: `DELETE FROM dirs WHERE id IN (
      SELECT d.id FROM dirs d WHERE d.path >= '/' AND d.path < '0'
        AND NOT EXISTS (SELECT 1 FROM names n WHERE n.dir_id = d.id)
        AND NOT EXISTS (SELECT 1 FROM names n WHERE n.child_id = d.id) LIMIT $1)`,
};
const purgeDroppedTrash: Statement = {
  name: 'purge-dropped-trash',
  text: `DELETE FROM trash WHERE id IN (
      SELECT t.id FROM domains m JOIN trash t ON t.domain_id = m.id WHERE m.dropped IS NOT NULL LIMIT $1)`,
};
const emptyDropped = `dropped IS NOT NULL AND NOT EXISTS (SELECT 1 FROM dirs d WHERE d.domain_id = domains.id)
  AND NOT EXISTS (SELECT 1 FROM trash t WHERE t.domain_id = domains.id)`;
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
    const versions = await tx.count(purgeDroppedTrash, [limit]);
    if (versions > 0) return versions;
    const classes = await tx.count(purgeDroppedClasses);
    return classes + (await tx.count(purgeDropped));
  });
}
