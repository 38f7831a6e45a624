// The storage node's settings.
import { realpathSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { type Static, Type } from 'typebox';
import { ConfigError, commonSettings, readConfig } from '../services/config.ts';
import { NAME_PATTERN } from '../services/keys.ts';
import { SMALL } from './body.ts';

const GiB = 1024 ** 3;

export const nodeSettings = Type.Object({
  ...commonSettings,
  CISTERN_HOST: Type.String({ pattern: NAME_PATTERN, description: "this host's name in the cluster" }),
  CISTERN_PORT: Type.Integer({
    default: 7501,
    minimum: 0,
    maximum: 65_535,
    description: 'port to listen on; 0: any that is free',
  }),
  CISTERN_URL: Type.Optional(
    Type.String({
      pattern: '^https?://[^/]+$',
      description: 'where trackers and clients reach this node; by default the address that it listens on',
    }),
  ),
  CISTERN_ZONE: Type.Optional(
    Type.String({
      pattern: NAME_PATTERN,
      description: 'what may fail together with this host, e.g. its rack',
    }),
  ),
  CISTERN_TRACKERS: Type.String({ minLength: 1, description: "the trackers' URLs, separated by commas" }),
  CISTERN_DEVICES: Type.String({
    minLength: 1,
    description: 'directories of the devices, separated by commas; each is named dev<N>, where N is its id',
  }),
  CISTERN_RESERVE_BYTES: Type.Integer({
    default: GiB,
    minimum: 0,
    description: 'free space on each device that uploads may not touch',
  }),
  CISTERN_VOLUME_BLOB_BYTES: Type.Integer({
    default: SMALL,
    minimum: 0,
    maximum: SMALL,
    description: 'blobs up to this size are appended to volumes; larger ones are a file each; 0: all are',
  }),
  CISTERN_VOLUME_BYTES: Type.Integer({
    default: 256 * 1024 ** 2,
    minimum: 1024 ** 2,
    maximum: 16 * GiB,
    description: 'size of a volume; the next one is begun when it is reached',
  }),
  CISTERN_HEARTBEAT_SECONDS: Type.Number({
    default: 2,
    exclusiveMinimum: 0,
    maximum: 60,
    description: 'time between heartbeats',
  }),
  CISTERN_SCRUB_DAYS: Type.Number({
    default: 30,
    minimum: 0,
    description: 'all that the devices hold is read again once in so many days; 0: never',
  }),
  CISTERN_SCRUB_BYTES_PER_SECOND: Type.Integer({
    default: 20 * 1024 ** 2,
    minimum: 1,
    description: 'most bytes that each device is read by the scrub in a second',
  }),
  CISTERN_QUARANTINE_DAYS: Type.Number({
    default: 14,
    minimum: 0,
    description: 'how long bad replicas are kept aside on their device',
  }),
  CISTERN_CACHE_BYTES: Type.Integer({
    default: 64 * 1024 ** 2,
    minimum: 0,
    description: 'memory for small blobs that are read often; 0: none',
  }),
  CISTERN_MAX_BLOB_BYTES: Type.Integer({
    default: 5 * 1024 * GiB,
    minimum: 1,
    description: 'largest blob that this node takes',
  }),
  CISTERN_IDLE_SECONDS: Type.Number({
    default: 30,
    exclusiveMinimum: 0,
    description: 'a body that stands still for so long ends with 408',
  }),
});

export interface NodeConfig
  extends Omit<Static<typeof nodeSettings>, 'CISTERN_TRACKERS' | 'CISTERN_DEVICES'> {
  trackers: string[];
  devices: { id: number; path: string }[];
}

/** @throws ConfigError naming the first setting that is wrong */
export function readNodeConfig(env: NodeJS.ProcessEnv = process.env): NodeConfig {
  const { CISTERN_TRACKERS, CISTERN_DEVICES, ...rest } = readConfig(nodeSettings, env);
  return { ...rest, trackers: parseTrackers(CISTERN_TRACKERS), devices: parseDevices(CISTERN_DEVICES) };
}

function parseTrackers(text: string): string[] {
  return list('CISTERN_TRACKERS', text).map((item) => {
    const url = URL.parse(item);
    if (url !== null && /^https?:$/.test(url.protocol)) return url.origin;
    throw new ConfigError(`CISTERN_TRACKERS: '${item}' is not an http or https URL`);
  });
}

function parseDevices(text: string): { id: number; path: string }[] {
  const ids = new Set<number>();
  const places = new Set<string>();
  return list('CISTERN_DEVICES', text).map((item) => {
    const path = resolve(item);
    const id = Number(/^dev([1-9]\d{0,8})$/.exec(basename(path))?.[1]);
    if (Number.isNaN(id)) {
      throw new ConfigError(`CISTERN_DEVICES: '${item}' is not named dev<N>, e.g. /srv/cistern/dev1`);
    }
    const place = realPath(path);
    if (ids.has(id)) throw new ConfigError(`CISTERN_DEVICES: device ${id} is given twice`);
    if (places.has(place))
      throw new ConfigError(`CISTERN_DEVICES: '${item}' is the same directory as another one`);
    ids.add(id);
    places.add(place);
    return { id, path };
  });
}

/** A directory that is not there yet may be a disk that is mounted later. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function list(name: string, text: string): string[] {
  const items = text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
  if (items.length === 0) throw new ConfigError(`${name} is empty`);
  return items;
}
