// The tracker's settings, as a schema: it names, validates and documents them. docs/configuration.md lists the same.
import { type Static, Type } from 'typebox';
import { commonSettings } from '../services/config.ts';

const seconds = (value: number, description: string, minimum = 0) =>
  Type.Number({ default: value, minimum, maximum: 31_536_000, description });

/** Settings of a tracker, besides those that every service has. Times are in seconds, sizes in bytes. */
export const trackerSettings = Type.Object({
  ...commonSettings,
  CISTERN_PORT: Type.Integer({
    default: 7500,
    minimum: 0,
    maximum: 65_535,
    description: 'port to listen on; 0 takes any that is free',
  }),
  CISTERN_URL: Type.Optional(
    Type.String({
      pattern: '^https?://',
      description:
        'where others reach this tracker, as status shows it; without it, the address it listens on',
    }),
  ),
  CISTERN_DATABASE_URL: Type.String({
    pattern: '^postgres(ql)?://',
    description:
      'the PostgreSQL database that all trackers of the cluster share; may name several servers (a:5432,b:5432), of which the primary is used',
  }),
  CISTERN_DATABASE_SYNCHRONOUS: Type.Union(
    [Type.Literal('auto'), Type.Literal('required'), Type.Literal('off')],
    {
      default: 'auto',
      description:
        "'required': nothing is written unless commits wait for a synchronous standby; 'auto': if several servers are named",
    },
  ),
  CISTERN_DATABASE_POOL: Type.Integer({
    default: 8,
    minimum: 2,
    maximum: 100,
    description: 'most connections to the database',
  }),
  CISTERN_STALE_READS: seconds(
    60,
    'for how long after the database went away files are read by names that were looked up before; 0: not at all',
  ),
  CISTERN_STALE_BYTES: Type.Integer({
    default: 32 * 1024 ** 2,
    minimum: 1024,
    description: 'about how much memory the names for that may take',
  }),
  CISTERN_ADMIN_TOKEN: Type.String({
    minLength: 16,
    description: 'a bearer token that is always accepted, with scope admin',
  }),
  CISTERN_ADMIN_TOKEN_PREVIOUS: Type.Optional(
    Type.String({ minLength: 16, description: 'the former one, still accepted while it is rotated out' }),
  ),
  CISTERN_DOWN_SECONDS: seconds(
    10,
    "a host is observed down after so long without a heartbeat, by the database's clock",
    0.1,
  ),
  CISTERN_STATE_SECONDS: seconds(1, "how often the cluster's state is read again", 0.05),
  CISTERN_HEAL_AFTER_SECONDS: seconds(
    900,
    'copies of what is on a device that is down for so long are made elsewhere; 0: never by themselves',
  ),
  CISTERN_DRAIN_GRACE_SECONDS: seconds(
    4_200,
    'how long uploads that began before a drain may still bring replicas to the device',
  ),
  CISTERN_REBALANCE_BAND: Type.Number({
    default: 0.1,
    minimum: 0.01,
    maximum: 1,
    description:
      'how far the fill of a device may be from the mean, as a part of its size, before data is moved',
  }),
  CISTERN_REBALANCE_BYTES_PER_SECOND: Type.Integer({
    default: 32 * 1024 ** 2,
    minimum: 1,
    description: 'most bytes that rebalancing moves in a second, in the whole cluster',
  }),
  CISTERN_REBALANCE_MOVES: Type.Integer({
    default: 2,
    minimum: 0,
    maximum: 64,
    description: 'how many blobs this tracker moves at the same time; 0: it leaves rebalancing to others',
  }),
  CISTERN_REAP_AFTER_SECONDS: seconds(86_400, 'how long the bytes of an un-named blob are kept'),
  CISTERN_SWEEP_AFTER_SECONDS: seconds(3_600, 'how old a blob unknown to the database must be to be removed'),
  CISTERN_SWEEP_EVERY_SECONDS: seconds(3_600, "how often each device's inventory is compared", 0.1),
  CISTERN_REPAIR_WORKERS: Type.Integer({
    default: 4,
    minimum: 0,
    maximum: 64,
    description:
      'how many batches of blobs this tracker repairs at the same time; 0: it leaves that to others',
  }),
  CISTERN_REPAIR_BYTES_PER_SECOND: Type.Integer({
    default: 0,
    minimum: 0,
    description: 'how much all trackers together have copied for repairs in a second; 0: any',
  }),
  CISTERN_BACKUP_EVERY_SECONDS: seconds(
    21_600,
    'how often the database is backed up onto devices of the cluster; 0: never. Less than CISTERN_REAP_AFTER_SECONDS, or restored names may find no bytes',
  ),
  CISTERN_BACKUP_KEEP: Type.Integer({
    default: 8,
    minimum: 1,
    maximum: 1000,
    description: 'how many backups are kept',
  }),
  CISTERN_BACKUP_COPIES: Type.Integer({
    default: 3,
    minimum: 1,
    maximum: 16,
    description: 'on how many hosts each backup is stored, if there are as many',
  }),
  CISTERN_BACKUP_DIRECTORY: Type.Optional(
    Type.String({
      minLength: 1,
      description: 'a directory of this tracker into which it also writes the backups that it makes',
    }),
  ),
  CISTERN_TICKET_SECONDS: seconds(600, 'how long tickets for uploads and redirects are valid', 1),
  CISTERN_MAX_UPLOAD_BYTES: Type.Integer({
    default: 64 * 1024 ** 3,
    minimum: 1,
    description: 'largest file that is accepted',
  }),
  CISTERN_IDLE_SECONDS: seconds(30, 'how long the body of a request may stand still', 0.1),
  CISTERN_X_ACCEL_PREFIX: Type.Optional(
    Type.String({
      pattern: '^/',
      description: 'downloads are answered with X-Accel-Redirect below this location, for an nginx in front',
    }),
  ),
});

export type TrackerConfig = Static<typeof trackerSettings>;
