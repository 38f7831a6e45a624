// What tracker and storage node say to each other, as schemas: they validate on both sides and name the types.
//
// Storage node (every request needs `?ticket=`, see tickets.ts):
//   PUT    /devices/{dev}/blobs/{fid}         'put'      body: the bytes    201 Receipt (200: was there, same bytes)
//   POST   /put-many                          'put-many' BatchEntry[], then the bytes of each   200 BatchResult[]
//   GET    /devices/{dev}/blobs/{fid}         'get'      200, 206, 304, 416; HEAD alike
//   DELETE /devices/{dev}/blobs/{fid}         'delete'   204; 404 replica-missing
//   POST   /devices/{dev}/blobs/{fid}/verify  'verify'   200 Verified; re-reads the bytes from the disk
//   POST   /devices/{dev}/blobs/{fid}/copy    'copy'     CopyOrder -> 201 Receipt (200: was there, same bytes)
//   POST   /devices/{dev}/copies              'copy-many' CopyManyOrder -> 200 CopiedMany
//   GET    /devices/{dev}/contents            'read-many' 200 frames (storage-node/frames.ts)
//   GET    /devices/{dev}/blobs?after=&limit= 'inventory' 200 Inventory
//   GET    /devices/{dev}/journal?after=      'journal'  200, a JournalEntry a line, in ascending order of fid
//   POST   /devices/{dev}/check               'check'    204: the device takes writes again; 503 device-unavailable
//   GET    /devices/{dev}/backups             'backup'   200 Backups
//   PUT    /devices/{dev}/backups/{name}      'backup'   body: the bytes    201 Backup (200: was there, same bytes)
//   GET    /devices/{dev}/backups/{name}      'backup'   200; cut off if the bytes are not what was stored
//   DELETE /devices/{dev}/backups/{name}      'backup'   204; 404 not-found
//   GET    /devices                           'devices'  200 array of DeviceReport
// Tracker (needs `Authorization: Bearer <'node' ticket>`):
//   POST   /v1/cluster/register    Registration -> Registered
//   POST   /v1/cluster/heartbeat   Heartbeat -> HeartbeatAnswer
//   POST   /v1/cluster/blobs       BlobQuestion -> BlobAnswer
import { type Static, Type } from 'typebox';
import { NAME_PATTERN } from './keys.ts';
import type { ProblemJson } from './problems.ts';
import type { Binding } from './tickets.ts';

const Fid = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });
const DeviceId = Type.Integer({ minimum: 1, maximum: 2_147_483_647 });
const Bytes = Type.Integer({ minimum: 0 });
const Sha256 = Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256 in lower-case hex' });
const strict = { additionalProperties: false };

export const DevicePath = Type.Object({ dev: DeviceId }, strict);
export const BlobPath = Type.Object({ dev: DeviceId, fid: Fid }, strict);

export const ReceiptPartSchema = Type.Object(
  {
    host: Type.String(),
    session: Type.String(),
    dev: DeviceId,
    at: Type.Integer(),
    signature: Type.String(),
  },
  strict,
);
export const ReceiptSchema = Type.Object(
  {
    fid: Fid,
    size: Bytes,
    sha256: Sha256,
    domain: Type.String(),
    key: Type.String(),
    class: Type.String(),
    parts: Type.Array(ReceiptPartSchema, { minItems: 1, maxItems: 16 }),
  },
  { ...strict, description: "Storage nodes' signed statement that these devices durably hold these bytes" },
);

/** One blob of a batch, in the manifest that its ticket signs. `id` is that of the client's request. */
export interface BatchEntry extends Binding {
  dev: number;
  fid: number;
  size: number;
  sha256?: string | undefined;
  id?: string | undefined;
}
/** What a device holds durably now, or why it does not. */
export type BatchResult = Static<typeof Verified> | ProblemJson;

export const CopyOrder = Type.Object(
  { sources: Type.Array(Type.String({ minLength: 1 }), { minItems: 1, maxItems: 16 }) },
  { ...strict, description: "Ticketed 'get' URLs of good replicas, tried in order" },
);
export type CopyOrder = Static<typeof CopyOrder>;

/** Most blobs in one order; with keys of any length it still is a body that a node takes. */
export const MANY_BLOBS = 128;
/** Largest blob that is copied with others: it is held in memory. */
export const MANY_BYTES = 1024 * 1024;

export const CopyManyOrder = Type.Object(
  {
    sources: Type.Array(
      Type.Object(
        {
          url: Type.String({ minLength: 1, description: "ticketed 'read-many' URL" }),
          blobs: Type.Array(
            Type.Object(
              {
                fid: Fid,
                size: Type.Integer({ minimum: 0, maximum: MANY_BYTES }),
                sha256: Sha256,
                domain: Type.String(),
                key: Type.String(),
                class: Type.String(),
              },
              strict,
            ),
            { minItems: 1, maxItems: MANY_BLOBS },
          ),
        },
        strict,
      ),
      { minItems: 1, maxItems: MANY_BLOBS },
    ),
  },
  { ...strict, description: 'Each blob is pulled from the source that it stands under' },
);
export type CopyManyOrder = Static<typeof CopyManyOrder>;

export const CopiedMany = Type.Object(
  {
    copied: Type.Array(Type.Object({ fid: Fid, at: Type.Integer() }, strict), {
      description: "durably held, since `at` by the node's clock",
    }),
    failed: Type.Array(Type.Object({ fid: Fid, why: Type.String() }, strict)),
  },
  strict,
);
export type CopiedMany = Static<typeof CopiedMany>;

export const Verified = Type.Object({ size: Bytes, sha256: Sha256 }, strict);
export type Verified = Static<typeof Verified>;

export const InventoryQuery = Type.Object(
  {
    ticket: Type.Optional(Type.String()),
    after: Type.Integer({ minimum: 0, default: 0, description: 'return fids above this one' }),
    limit: Type.Integer({ minimum: 1, maximum: 10_000, default: 1_000 }),
  },
  strict,
);
export const Inventory = Type.Object(
  {
    blobs: Type.Array(Type.Object({ fid: Fid, size: Bytes, at: Type.Integer() }, strict), {
      description: 'in ascending order of fid; `at` is the modification time in milliseconds',
    }),
    /** Ask again with `after` set to this; absent at the end. */
    next: Type.Optional(Fid),
  },
  strict,
);
export type Inventory = Static<typeof Inventory>;

/** What a device has on record about one blob that it holds, from when it was stored (or from a later scrub). */
export const JournalEntry = Type.Object(
  {
    fid: Fid,
    /** Absent: stored before there was a journal, or its line was lost; and no tracker has told the name since. */
    domain: Type.Optional(Type.String()),
    key: Type.Optional(Type.String()),
    class: Type.Optional(Type.String()),
    size: Bytes,
    sha256: Sha256,
    at: Type.Integer({ description: 'milliseconds since the epoch, by the clock of the node' }),
  },
  strict,
);
export type JournalEntry = Static<typeof JournalEntry>;

/** Something that trackers keep on devices beside the blobs: a dump of the database. */
export const BACKUP_NAME = '^[a-z0-9][a-z0-9._-]{0,99}$';
export const Backup = Type.Object(
  {
    name: Type.String({ pattern: BACKUP_NAME }),
    size: Bytes,
    sha256: Sha256,
    at: Type.Integer({ description: 'when it was stored, milliseconds since the epoch' }),
  },
  strict,
);
export type Backup = Static<typeof Backup>;
export const Backups = Type.Object({ backups: Type.Array(Backup) }, strict);
export type Backups = Static<typeof Backups>;

const Millis = Type.Integer({ minimum: 0, description: 'milliseconds since the epoch' });

/** How far a device's scrub is: all of it is read again, pass by pass. */
export const ScrubReport = Type.Object(
  {
    days: Type.Number({ description: 'a pass is made in so many days; 0: none' }),
    began: Type.Union([Millis, Type.Null()], { description: 'when the present or last pass began' }),
    completed: Type.Union([Millis, Type.Null()], { description: 'when a pass ended last' }),
    position: Type.Union([Bytes, Type.Null()], {
      description: 'the fid that the present pass has come to; null between passes',
    }),
    bytes: Type.Integer({ minimum: 0, description: 'read in the present or last pass' }),
    blobs: Type.Integer({ minimum: 0, description: 'read in the present or last pass' }),
    unverified: Type.Integer({
      minimum: 0,
      description: 'of these, blobs of which nobody could say what their bytes should be',
    }),
    found: Type.Integer({
      minimum: 0,
      description: 'bad replicas that scrubs have found on the device, ever',
    }),
  },
  strict,
);
export type ScrubReport = Static<typeof ScrubReport>;

/** What a node says of one device: `ok` serves and takes writes, `readonly` serves only, `out` does neither. */
export const DeviceReport = Type.Object(
  {
    id: DeviceId,
    uuid: Type.Union([Type.String({ format: 'uuid' }), Type.Null()], {
      description: 'from the marker file; null: the directory is empty and has none yet',
    }),
    condition: Type.Union([Type.Literal('ok'), Type.Literal('readonly'), Type.Literal('out')]),
    why: Type.Optional(Type.String({ description: 'why the condition is not ok, for the operator' })),
    total: Bytes,
    free: Type.Integer({ description: 'bytes that uploads may still fill, beyond the reserve; not below 0' }),
    highestFid: Type.Integer({ minimum: 0 }),
    blobs: Type.Integer({ minimum: 0 }),
    errors: Type.Integer({ minimum: 0, description: 'read and write errors since the node started' }),
    sequence: Type.Optional(
      Type.Integer({
        minimum: 0,
        description:
          'kept on the disk, and grows as it is written: a lower one than before is a disk set back',
      }),
    ),
    quarantined: Type.Optional(
      Type.Integer({ minimum: 0, description: 'bad replicas that are kept aside on the disk' }),
    ),
    scrub: Type.Optional(ScrubReport),
  },
  strict,
);
export type DeviceReport = Static<typeof DeviceReport>;

export const Registration = Type.Object(
  {
    host: Type.String({ pattern: NAME_PATTERN }),
    url: Type.String({ format: 'uri', description: 'where trackers and clients reach this node' }),
    zone: Type.Optional(Type.String({ pattern: NAME_PATTERN })),
    session: Type.String({ minLength: 16, maxLength: 64 }),
    devices: Type.Array(DeviceReport, { maxItems: 1024 }),
  },
  strict,
);
export type Registration = Static<typeof Registration>;

export const Registered = Type.Object(
  {
    cluster: Type.String({ description: "the cluster's id, for the marker files" }),
    /**
     * `accepted`: in service. `format`: unknown to the cluster and empty: write a marker, then register again.
     * `refused`: stays out; `why` says what is wrong.
     */
    devices: Type.Array(
      Type.Object(
        {
          id: DeviceId,
          verdict: Type.Union([Type.Literal('accepted'), Type.Literal('format'), Type.Literal('refused')]),
          why: Type.Optional(Type.String()),
        },
        strict,
      ),
    ),
  },
  strict,
);
export type Registered = Static<typeof Registered>;

/** A replica that the node found to be bad or gone while serving it. */
export const Finding = Type.Object(
  {
    dev: DeviceId,
    fid: Fid,
    kind: Type.Union([Type.Literal('corrupt'), Type.Literal('missing'), Type.Literal('unreadable')]),
  },
  strict,
);
export type Finding = Static<typeof Finding>;

export const Heartbeat = Type.Object(
  {
    host: Type.String({ pattern: NAME_PATTERN }),
    session: Type.String(),
    clock: Type.Integer({ description: "the node's time in milliseconds" }),
    devices: Type.Array(DeviceReport, { maxItems: 1024 }),
    findings: Type.Array(Finding, { maxItems: 1000, description: 'repeated until a heartbeat was answered' }),
  },
  strict,
);
export type Heartbeat = Static<typeof Heartbeat>;

export const HeartbeatAnswer = Type.Object(
  {
    cluster: Type.String(),
    /** True: the tracker does not know this session; register again. */
    register: Type.Boolean(),
    clock: Type.Integer({ description: "the database's time in milliseconds" }),
  },
  strict,
);
export type HeartbeatAnswer = Static<typeof HeartbeatAnswer>;

/** A node asks what blobs that its device holds should be: their records are missing, or their bytes are others. */
export const BlobQuestion = Type.Object(
  { host: Type.String({ pattern: NAME_PATTERN }), fids: Type.Array(Fid, { maxItems: 1000 }) },
  strict,
);
export const KnownBlob = Type.Object(
  {
    fid: Fid,
    size: Bytes,
    sha256: Sha256,
    /** One of its names; absent if nothing names it any more. */
    domain: Type.Optional(Type.String()),
    key: Type.Optional(Type.String()),
    class: Type.Optional(Type.String()),
  },
  strict,
);
export type KnownBlob = Static<typeof KnownBlob>;
export const BlobAnswer = Type.Object(
  {
    blobs: Type.Array(KnownBlob, {
      description: 'without those that the cluster does not know, or has given up',
    }),
  },
  strict,
);
