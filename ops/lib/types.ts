// What the tracker answers (docs/http-api.md), as far as commands use it. Sizes are bytes, times ISO 8601.

export interface FileEntry {
  kind: 'file';
  key: string;
  size: number;
  etag: string;
  sha256: string;
  contentType: string;
  mtime: string;
  class: string;
  meta: Record<string, unknown>;
  fid: number;
}

export interface DirectoryEntry {
  kind: 'directory';
  key: string;
  mtime: string;
}

export type Entry = FileEntry | DirectoryEntry;

export interface TrashedVersion extends Omit<FileEntry, 'kind' | 'sha256'> {
  id: number;
  reason: 'deleted' | 'replaced' | 'rewound';
  at: string;
}

export interface Domain {
  name: string;
  trashDays: number;
  /** The environment that writes it; null: none has named itself yet. */
  environment: string | null;
  created: string;
}

export interface StorageClass {
  name: string;
  copies: number;
  minCopies: number;
  spread: 'host' | 'zone';
  prefixes: string[];
  trash: boolean;
}

export interface Token {
  id: number;
  name: string;
  scopes: string[];
  domain: string | null;
  prefix: string;
  redirect: boolean;
  expires: string | null;
  created: string;
  /** The secret, in the answer that made it and never again. */
  token?: string;
}

export interface Host {
  name: string;
  url: string;
  /** '' if none was named. */
  zone: string;
  state: 'up' | 'down';
  seen: string;
  /** Milliseconds by which its clock is ahead of the database's. */
  clockOffset: number;
  devices: number[];
}

export interface Device {
  id: number;
  host: string;
  uuid: string;
  state: 'alive' | 'readonly' | 'drain' | 'dead';
  observed: 'up' | 'down';
  condition: 'ok' | 'readonly' | 'out';
  why?: string;
  weight: number;
  total: number;
  free: number;
  blobs: number;
  errors: number;
  highestFid: number;
  /** Bad replicas that are kept aside. */
  quarantined: number;
  scrub?: Scrub;
  /** It was dead, and its inventory is compared before it is alive again. */
  reviving: boolean;
  /** Down for so long that copies of what it holds are made elsewhere. */
  missed: boolean;
  /** While its state is drain. */
  drain?: {
    empty: boolean;
    /** Left on it; absent before they were counted. */
    replicas?: number;
    bytes?: number;
    acceptsUntil?: string;
    /** Bytes a second. */
    rate?: number;
    secondsLeft?: number;
  };
}

/** Times in milliseconds since the epoch. */
export interface Scrub {
  /** A pass is made in so many days; 0: none. */
  days: number;
  began: number | null;
  completed: number | null;
  /** Null between passes. */
  position: number | null;
  bytes: number;
  blobs: number;
  unverified: number;
  found: number;
}

export interface Status {
  verdict: 'healthy' | 'degraded' | 'unhealthy';
  reasons: { what: string; next: string | null }[];
  cluster: string;
  trackers: { url: string; version: string; seen: string; self: boolean }[];
  database: { server: string; version: string; latencyMs: number; size: number; backup: string | null };
  hosts: Host[];
  devices: Device[];
  rebalance: RebalanceProgress;
  files: {
    domains: number;
    underReplicated: number;
    withoutCopy: number;
    oldestRepair: string | null;
    queued: number;
    removing: number;
    reaping: number;
  };
}

/** Of rebalancing. */
export interface RebalanceProgress {
  enabled: boolean;
  /** Since when data is being moved; null: it need not be. */
  started: string | null;
  finished: string | null;
  /** Since it last began. */
  movedBlobs: number;
  movedBytes: number;
  /** Why nothing moves though some device is outside of the band. */
  why: string | null;
}

export interface Rebalance extends RebalanceProgress {
  /** Parts of a device's size, from 0 to 1. */
  band: number;
  mean: number;
  devices: { id: number; host: string; fill: number }[];
}

export interface Repair {
  queued: number;
  underReplicated: number;
  withoutCopy: number;
  /** Of the files that are below their copies. */
  bytes: number;
  oldest: string | null;
  removing: number;
  reaping: number;
  stuck: (MissingFile & { attempts: number })[];
}

export interface MissingFile {
  fid: number;
  domain: string | null;
  key: string | null;
  copies: number;
  want: number;
  why: string;
}

export interface FsckFinding {
  kind: string;
  fid: number | null;
  device: number | null;
  host: string | null;
  domain: string | null;
  key: string | null;
  what: string;
  next: string;
}

export interface FsckPage {
  compared: number;
  bytes: number;
  findings: FsckFinding[];
  next?: number;
}

export interface DatabaseBackup {
  name: string;
  at: string;
  size: number;
  sha256: string;
  devices: number[];
}

export interface RewindCounts {
  removed: number;
  restored: number;
  replaced: number;
  lost: number;
  directoriesRemoved: number;
  directoriesRestored: number;
  directoriesMoved: number;
}

export interface Rewind extends RewindCounts {
  at: string;
  to: string;
}

export interface RewindAnswer extends Rewind {
  changes: { kind: 'file' | 'directory'; change: string; key: string; to?: string }[];
  truncated: boolean;
}
