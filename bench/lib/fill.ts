// Fills the database with files that were never uploaded: many, quickly.
import { hash } from 'node:crypto';
import { bytesOf } from '../load/bytes.ts';
import type { Cluster } from './cluster.ts';

export const FILES_A_DIRECTORY = 1_000;

/** The directory that holds them: `filled-N/0/0`, `filled-N/1/1`, ... */
export const prefixOf = (files: number) => `filled-${files}`;

export interface Filling {
  /** The first of the fids, taken before. */
  first: number;
  /** Of each of the two copies: the devices that have them in turn. */
  devices: [number[], number[]];
  /** Of each file: the bytes are those of `bytesOf`. */
  size: number;
}

/**
 * Names, blobs and two locations each for files that were never uploaded. Unless the caller puts the bytes onto the
 * devices beforehand (`filling`), only look-ups can be done with them.
 */
export async function fill(cluster: Cluster, files: number, filling?: Filling): Promise<void> {
  const { sql, takeFids, domain, nodes } = cluster;
  const directories = Math.ceil(files / FILES_A_DIRECTORY);
  const [one, other] = nodes.map((node) => [node.devices[0]?.id as number]) as [number[], number[]];
  const { first, devices, size } = filling ?? {
    first: await takeFids(files),
    devices: [one, other],
    size: 4096,
  };
  // The rows refer to each other as they should; looking that up for each would take most of the time.
  await sql("SET session_replication_role = 'replica'");
  await sql(
    `WITH RECURSIVE domain AS (SELECT id FROM domains WHERE name = $1),
      made AS (INSERT INTO dirs (domain_id, path) SELECT id, $2 || d.path FROM domain CROSS JOIN
        (SELECT '/' AS path UNION ALL SELECT '/' || i || '/' FROM generate_series(0, $3::int - 1) AS i) AS d
        RETURNING id, path),
      all_dirs AS (SELECT * FROM made UNION ALL SELECT d.id, d.path FROM dirs d JOIN domain ON d.domain_id = domain.id
        WHERE d.path = '')
    INSERT INTO names (dir_id, name, child_id)
    SELECT parent.id, substring(child.path FROM '([^/]+)/$'), child.id FROM made child
    JOIN all_dirs parent ON parent.path = substring(child.path FROM '^(.*?)[^/]+/$')`,
    [domain, prefixOf(files), directories],
  );
  await sql(
    `INSERT INTO names (dir_id, name, fid, class_id, content_type)
    SELECT d.id, i, $2::bigint + i, c.id, 'image/jpeg' FROM generate_series(0, $3::int - 1) AS i
    JOIN domains m ON m.name = $1 JOIN classes c ON c.domain_id = m.id AND c.name = 'default'
    JOIN dirs d ON d.domain_id = m.id AND d.path = $4 || '/' || (i % $5::int) || '/'`,
    [domain, first, files, prefixOf(files), directories],
  );
  await sql(
    `INSERT INTO blobs (fid, state, want, size, sha256, created)
    SELECT $1::bigint + i, 'live', 2, $3, $4, true FROM generate_series(0, $2::int - 1) AS i`,
    [first, files, size, hash('sha256', bytesOf(size), 'buffer')],
  );
  for (const inTurn of devices) {
    await sql(
      `INSERT INTO locations (fid, device_id)
      SELECT $1::bigint + i, ($3::int[])[1 + i % cardinality($3::int[])] FROM generate_series(0, $2::int - 1) AS i`,
      [first, files, inTurn],
    );
  }
  await sql("SET session_replication_role = 'origin'");
  for (const table of ['dirs', 'names', 'blobs', 'locations']) await sql(`VACUUM (ANALYZE) ${table}`);
  await sql('CHECKPOINT');
}
