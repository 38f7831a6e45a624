// What the namespace speaks of: files and directories as they are found, and as they are shown to clients.
import { etagOf } from '../../services/digests.ts';
import type { ClassState, DomainState } from '../cluster/state.ts';

export type Meta = Record<string, unknown>;

export interface FoundFile {
  kind: 'file';
  key: string;
  fid: number;
  /** Bytes. */
  size: number;
  /** Lower-case hex. */
  sha256: string;
  contentType: string;
  mtime: Date;
  classId: number;
  class: string;
  meta: Meta;
  /** Ids of the devices that hold a good replica. */
  devices: number[];
}

export interface FoundDirectory {
  kind: 'directory';
  key: string;
  mtime: Date;
}

export type Found = FoundFile | FoundDirectory;

/** A file as clients see it (docs/http-api.md). */
export interface FileEntry {
  kind: 'file';
  key: string;
  size: number;
  etag: string;
  sha256: string;
  contentType: string;
  mtime: string;
  class: string;
  meta: Meta;
  fid: number;
}

export interface DirectoryEntry {
  kind: 'directory';
  key: string;
  mtime: string;
}

export type Entry = FileEntry | DirectoryEntry;

/** What a write demands of the key's present state (RFC 9110, 13.1). Digests are in hex. */
export interface Precondition {
  ifNoneMatch?: '*';
  ifMatch?: '*' | string[];
}

/** Bytes that are stored durably and want a name. */
export interface Upload {
  domain: DomainState;
  key: string;
  fid: number;
  class: ClassState;
  size: number;
  sha256: string;
  contentType: string;
  mtime?: Date;
  meta?: Meta;
  /** Ids of the devices that durably hold the blob. */
  devices: number[];
  precondition?: Precondition;
}

export interface Committed {
  /** False if a file was replaced. */
  created: boolean;
  entry: FileEntry;
}

/** A request that may be repeated: its Idempotency-Key, and what must be the same in a repeat (method, path, ...). */
export interface Idempotency {
  key: string;
  request: string;
}

/** The first answer to a request with an Idempotency-Key. */
export interface Answer {
  status: number;
  body?: unknown;
}

/** A file or directory in the form that clients get. */
export function entryOf(found: FoundFile): FileEntry;
export function entryOf(found: FoundDirectory): DirectoryEntry;
export function entryOf(found: Found): Entry;
export function entryOf(found: Found): Entry {
  const mtime = found.mtime.toISOString();
  if (found.kind === 'directory') return { kind: 'directory', key: found.key, mtime };
  const { key, size, sha256, contentType, meta, fid } = found;
  return {
    kind: 'file',
    key,
    size,
    etag: etagOf(sha256),
    sha256,
    contentType,
    mtime,
    class: found.class,
    meta,
    fid,
  };
}

/** What an upload is called once its key names it. */
export function entryOfUpload(upload: Upload, mtime: Date): FileEntry {
  const { key, fid, size, sha256, contentType, meta = {} } = upload;
  const { id: classId, name } = upload.class;
  return entryOf({
    kind: 'file',
    key,
    fid,
    size,
    sha256,
    contentType,
    mtime,
    classId,
    class: name,
    meta,
    devices: [],
  });
}
