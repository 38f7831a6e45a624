// Former versions that come late: bytes that lost to what a key holds, when several directories become one. They go
// straight into the trash, and no reader ever sees them under the key.
import { Problem } from '../../services/problems.ts';
import type { Queryable, Statement } from '../database/database.ts';
import { commitNow, problemOf } from './commit.ts';
import { entryOfUpload, type FileEntry, type Upload } from './types.ts';

// A name that nobody sees, since it goes in the transaction that makes it. Its row in the trash then gets the key.
const forget: Statement = {
  name: 'past-forget',
  text: `WITH said AS (SELECT set_config('cistern.unnaming', 'replaced', true))
    DELETE FROM names USING said WHERE fid = $1`,
};
const rename: Statement = {
  name: 'past-rename',
  text: `UPDATE trash t SET key = $3, dir_id = d.id FROM dirs p
      LEFT JOIN dirs d ON d.domain_id = p.domain_id AND d.path = $4
    WHERE p.domain_id = $1 AND p.path = '' AND t.domain_id = $1 AND t.fid = $2`,
};

/**
 * Puts an upload into the trash as a former version of its key, whether the key holds a file or not.
 * @throws Problem state-conflict if nothing of that class is kept in the trash; class-not-found, too-few-devices
 */
export async function keepPast(tx: Queryable, upload: Upload): Promise<FileEntry> {
  const { domain, key, fid } = upload;
  const hidden: Upload = { ...upload, key: `\u0001past-${fid}`, precondition: { ifNoneMatch: '*' } };
  const [result] = await commitNow(tx, [hidden]);
  if (result?.outcome !== 'created') throw problemOf(result?.outcome ?? 'conflict', upload);
  await tx.query(forget, [fid]);
  const path = key.slice(0, key.lastIndexOf('/') + 1);
  if ((await tx.count(rename, [domain.id, fid, key, path])) === 0) {
    throw new Problem(
      'state-conflict',
      `The class '${upload.class.name}' keeps no versions in the trash, or the domain keeps none for any time.`,
    );
  }
  return entryOfUpload(upload, upload.mtime ?? result.mtime);
}
