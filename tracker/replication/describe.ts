// What the cluster knows of blobs that a device holds: for a storage node whose records are missing or in doubt.
import type { KnownBlob } from '../../services/protocol.ts';
import type { Queryable, Statement } from '../database/database.ts';
import { nameOf } from './names.ts';

const describeLive: Statement = {
  name: 'describe-blobs',
  text: `SELECT b.fid, b.size, encode(b.sha256, 'hex') AS sha256, name.domain, name.key, name.class
    FROM blobs b LEFT JOIN ${nameOf('b.fid')} AS name ON true
    WHERE b.fid = ANY ($1::bigint[]) AND b.state = 'live' ORDER BY b.fid`,
};

/** The live ones among `fids`, with one of their names. */
export async function describeBlobs(db: Queryable, fids: number[]): Promise<KnownBlob[]> {
  const rows = await db.query<KnownBlob & { domain: string | null }>(describeLive, [fids]);
  return rows.map(({ domain, key, class: className, ...blob }) =>
    domain === null ? blob : ({ ...blob, domain, key, class: className } as KnownBlob),
  );
}
