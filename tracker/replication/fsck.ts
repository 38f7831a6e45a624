// fsck only looks: it compares, both ways, what the database says with what the disks hold, and what the tables say with
// each other. What it finds is a Finding; nothing is changed. The parts: fsck-device.ts, fsck-files.ts and
// fsck-directories.ts, each a walk in pages, so that whoever asks keeps the place.
//
// On a live cluster nearly everything is on its way for a moment. So a suspicion is a finding only if it is still there
// at a second look, at facts that are read after the first; what that must be is said at each.
import type { Queryable, Statement } from '../database/database.ts';
import { nameOf } from './names.ts';
import { inDomain } from './scan.ts';

/** What is wrong, in a word that scripts can rely on; docs/cli.md explains each. */
export const FINDING_KINDS = [
  'missing',
  'size',
  'digest',
  'unreadable',
  'uncounted',
  'unknown',
  'copies',
  'misplaced',
  'surplus',
  'bad',
  'unnamed',
  'dangling',
  'orphan',
  'directory',
] as const;
export type FindingKind = (typeof FINDING_KINDS)[number];

export interface Finding {
  kind: FindingKind;
  /** Null for a directory. */
  fid: number | null;
  /** The device that it is about, if it is about one. */
  device: number | null;
  host: string | null;
  domain: string | null;
  /** One of the blob's keys, or the directory's path. */
  key: string | null;
  what: string;
  /** What to do about it: a command, or a sentence. */
  next: string;
}

export interface FsckPage {
  /** Replicas, blobs or directories that were compared. */
  compared: number;
  bytes: number;
  findings: Finding[];
  /** Ask again from here; absent at the end. */
  next?: number;
}

/** What is younger than this may still be on its way, in seconds by the database's clock. */
export const YOUNG_SECONDS = 120;

/** Nothing in Cistern makes such a state, so nothing mends it. */
export const REPORT = 'a table was changed by hand, or this is a bug: please report it';

const findNames: Statement = {
  name: 'fsck-names',
  text: `SELECT f.fid, name.domain, name.key FROM unnest($1::bigint[]) AS f (fid)
    LEFT JOIN ${nameOf('f.fid')} AS name ON true WHERE $2::int IS NULL OR ${inDomain('f.fid', '$2')}`,
};

/** Gives findings the names of their blobs. Those of other domains than `domainId` (if it is given) are left out. */
export async function nameFindings(
  db: Queryable,
  findings: Omit<Finding, 'domain' | 'key'>[],
  domainId?: number,
): Promise<Finding[]> {
  if (findings.length === 0) return [];
  const fids = [...new Set(findings.map(({ fid }) => fid))];
  const rows = await db.query<{ fid: number; domain: string | null; key: string | null }>(findNames, [
    fids,
    domainId ?? null,
  ]);
  const names = new Map(rows.map((row) => [row.fid, row]));
  return findings.flatMap((finding) => {
    const name = names.get(finding.fid as number);
    return name === undefined ? [] : [{ ...finding, domain: name.domain, key: name.key }];
  });
}
