// Backups of the database, made by the trackers on a schedule or when somebody asks: stored on devices of several
// hosts, where `cistern restore` finds them when the database is lost; and in a directory of the tracker, if one is set.
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { failPoint } from '../../services/fail-points.ts';
import type { Logger } from '../../services/logging.ts';
import { Problem } from '../../services/problems.ts';
import { choosePlaces } from '../cluster/placement.ts';
import type { ClusterState, DeviceState } from '../cluster/state.ts';
import type { TrackerConfig } from '../config.ts';
import type { Database, Statement } from '../database/database.ts';
import type { Content, NodeClient } from '../transfer/node-client.ts';
import { type Connect, dump } from './dump.ts';
import type { Header } from './format.ts';
import { deleteBackup, getBackup, listBackups, putBackup } from './node-backups.ts';
import { type Sink, tee } from './tee.ts';

export interface BackupParts {
  config: Pick<
    TrackerConfig,
    | 'CISTERN_BACKUP_EVERY_SECONDS'
    | 'CISTERN_BACKUP_KEEP'
    | 'CISTERN_BACKUP_COPIES'
    | 'CISTERN_BACKUP_DIRECTORY'
  >;
  log: Logger;
  db: Database;
  state: ClusterState;
  nodes: NodeClient;
  connect: Connect;
}

export interface Backup {
  /** Sorts by age. */
  name: string;
  /** The instant that it shows. */
  at: Date;
  /** Bytes. */
  size: number;
  sha256: string;
  /** Devices that hold it. */
  devices: number[];
}

const SLACK = 1024 * 1024;
const SUFFIX = '.cistern.gz';
const COLUMNS = `name, at, size, encode(sha256, 'hex') AS sha256, device_ids AS devices`;

const databaseSize: Statement = {
  name: 'backups-database-size',
  text: 'SELECT pg_database_size(current_database()) AS size',
};
const claim: Statement = {
  name: 'backups-claim',
  text: `UPDATE cluster SET backup_begun = now()
    WHERE $1::float8 > 0 AND backup_begun <= now() - $1::float8 * interval '1 second'`,
};
// Another tracker, or this one, tries again before an interval has gone by.
const giveBack: Statement = {
  name: 'backups-give-back',
  text: `UPDATE cluster SET backup_begun = now() - ($1::float8 - least($1::float8, 60)) * interval '1 second'`,
};
// A backup on a device that has no record: its tracker died before it was written, or the database is a restored one.
const adopt: Statement = {
  name: 'backups-adopt',
  text: `INSERT INTO backups (name, at, size, sha256, device_ids)
    SELECT name, at, size, decode(sha256, 'hex'), ARRAY[$5::int]
    FROM unnest($1::text[], $2::timestamptz[], $3::bigint[], $4::text[]) AS found (name, at, size, sha256) ORDER BY name
    ON CONFLICT (name) DO UPDATE SET device_ids = backups.device_ids || $5::int
      WHERE NOT $5::int = ANY (backups.device_ids) AND backups.sha256 = excluded.sha256`,
};
const insert: Statement = {
  name: 'backups-insert',
  text: `INSERT INTO backups (name, at, size, sha256, device_ids) VALUES ($1, $2, $3, decode($4, 'hex'), $5)
    RETURNING ${COLUMNS}`,
};
const listAll: Statement = {
  name: 'backups-list',
  text: `SELECT ${COLUMNS} FROM backups ORDER BY name DESC`,
};
const findOne: Statement = { name: 'backups-find', text: `SELECT ${COLUMNS} FROM backups WHERE name = $1` };
const listOld: Statement = {
  name: 'backups-old',
  text: `SELECT ${COLUMNS} FROM backups ORDER BY name DESC OFFSET $1`,
};
const forget: Statement = { name: 'backups-forget', text: 'DELETE FROM backups WHERE name = $1' };

/** All backups that are on record, newest first. */
export function recordedBackups(db: Database): Promise<Backup[]> {
  return db.query<Backup>(listAll);
}

/** Makes a backup if one is due and no other tracker is at it; true if it did. */
export async function backUpIfDue(parts: BackupParts, signal: AbortSignal): Promise<boolean> {
  const { db, config } = parts;
  const every = config.CISTERN_BACKUP_EVERY_SECONDS;
  if ((await db.count(claim, [every])) === 0) return false;
  try {
    await backUp(parts, signal);
    return true;
  } catch (error) {
    await db.query(giveBack, [every]);
    throw error;
  }
}

/**
 * Makes a backup now, and removes those that are too many.
 * @throws Problem too-few-devices if no device took it whole
 */
export async function backUp(parts: BackupParts, signal?: AbortSignal): Promise<Backup> {
  const { config, db, state, log, connect } = parts;
  // Zipped text without indexes is far smaller than what it stands for.
  const max = ((await db.query<{ size: number }>(databaseSize))[0]?.size ?? 0) + SLACK;
  const places = choosePlaces(state, { copies: config.CISTERN_BACKUP_COPIES, size: max });
  const directory = config.CISTERN_BACKUP_DIRECTORY;
  let header: Header | undefined;
  const frames = dump(connect, (seen) => {
    header = seen;
  });
  // The name is made of the instant that it shows, which the first frame tells.
  const first = await frames.next();
  failPoint('backup-begun');
  const { at, cluster } = header as unknown as Header;
  const name = nameOf(at, cluster);
  const sinks = [
    ...places.map(
      (device): Sink =>
        (body) =>
          putBackup(parts.nodes, device, { name, max, body, signal }),
    ),
    ...(directory === undefined ? [] : [fileSink(directory, name)]),
  ];
  const zipped = Readable.from(after(first.value as Buffer, frames), { objectMode: false }).compose(
    createGzip({ level: 3 }),
  );
  const { content, failures } = await tee(zipped as AsyncIterable<Buffer>, sinks);
  const held = places.filter((_device, i) => failures[i] === undefined);
  for (const [i, failure] of failures.entries()) {
    if (failure === undefined) continue;
    const where =
      places[i] === undefined ? { directory } : { device: places[i].id, host: places[i].host.name };
    log.warn({ ...where, name, why: (failure as Error).message }, 'a backup was not stored here');
  }
  if (held.length === 0)
    throw new Problem('too-few-devices', 'No device could take the backup. See: cistern status.');
  failPoint('backup-stored');
  const values = [name, at, content.size, content.sha256, held.map(({ id }) => id)];
  const [backup] = await db.query<Backup>(insert, values);
  log.info({ name, size: content.size, devices: held.map(({ id }) => id) }, 'database backed up');
  failPoint('backup-recorded');
  await adoptFound(parts);
  await prune(parts);
  return backup as Backup;
}

/** `20261123t181500123z-1a2b3c4d.cistern.gz`: by its instant, and of which cluster. */
function nameOf(at: string, cluster: string): string {
  return `${at.replaceAll(/[-:.]/g, '').toLowerCase()}-${cluster.slice(0, 8)}${SUFFIX}`;
}

async function* after(first: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  yield* rest;
}

/** The instant of a backup, from its name; undefined if it is no name of ours. */
function instantOf(name: string): string | undefined {
  const parts = /^(\d{4})(\d\d)(\d\d)t(\d\d)(\d\d)(\d\d)(\d{3})z-/.exec(name)?.slice(1);
  if (parts === undefined) return undefined;
  const [year, month, day, hour, minute, second, ms] = parts;
  return `${year}-${month}-${day}T${hour}:${minute}:${second}.${ms}Z`;
}

/** Records what devices hold without a record, so that it is listed, and removed in its turn. */
async function adoptFound({ db, state, nodes, log }: BackupParts): Promise<void> {
  for (const device of state.devices().filter(({ readable }) => readable)) {
    try {
      const found = (await listBackups(nodes, device)).filter(({ name }) => instantOf(name) !== undefined);
      await db.query(adopt, [
        found.map(({ name }) => name),
        found.map(({ name }) => instantOf(name)),
        found.map(({ size }) => size),
        found.map(({ sha256 }) => sha256),
        device.id,
      ]);
    } catch (error) {
      log.debug({ device: device.id, why: (error as Error).message }, 'its backups could not be listed');
    }
  }
}

/** Removes the oldest. One that cannot be reached now keeps its record, and is removed later. */
async function prune(parts: BackupParts): Promise<void> {
  const { db, state, nodes, config, log } = parts;
  const old = await db.query<Backup>(listOld, [config.CISTERN_BACKUP_KEEP]);
  for (const { name, devices } of old) {
    const all = devices
      .map((id) => state.device(id))
      .filter((device) => device !== undefined && device.state !== 'dead');
    const removed = await Promise.allSettled(
      all.map((device) => removeFrom(nodes, device as DeviceState, name)),
    );
    if (removed.every(({ status }) => status === 'fulfilled')) await db.query(forget, [name]);
    else log.debug({ name }, 'an old backup could not be removed everywhere yet');
  }
  const directory = config.CISTERN_BACKUP_DIRECTORY;
  if (directory === undefined) return;
  const files = (await readdir(directory)).filter((file) => file.endsWith(SUFFIX)).sort();
  for (const file of files.slice(0, -config.CISTERN_BACKUP_KEEP))
    await rm(join(directory, file), { force: true });
}

async function removeFrom(nodes: NodeClient, device: DeviceState, name: string): Promise<void> {
  await deleteBackup(nodes, device, name).catch((error) => {
    if ((error as Problem).problem !== 'not-found') throw error;
  });
}

/** Writes into the tracker's own directory: under a temporary name first, and durable at the end. */
function fileSink(directory: string, name: string): Sink {
  return async (body) => {
    await mkdir(directory, { recursive: true });
    const partial = join(directory, `${name}.partial`);
    const digest = createHash('sha256');
    let size = 0;
    try {
      await pipeline(
        body,
        async function* (pieces: AsyncIterable<Buffer>) {
          for await (const piece of pieces) {
            digest.update(piece);
            size += piece.length;
            yield piece;
          }
        },
        createWriteStream(partial, { mode: 0o600, flush: true }),
      );
      await rename(partial, join(directory, name));
      const handle = await open(directory, 'r');
      await handle.sync().finally(() => handle.close());
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    }
    return { size, sha256: digest.digest('hex') } satisfies Content;
  };
}

/**
 * Opens a backup's bytes (gzip), from whichever device has it.
 * @throws Problem not-found; no-good-replica if none of its devices answers
 */
export async function openBackup(
  { db, state, nodes }: BackupParts,
  name: string,
): Promise<{ backup: Backup; body: Readable }> {
  const [backup] = await db.query<Backup>(findOne, [name]);
  if (backup === undefined)
    throw new Problem('not-found', `There is no backup '${name}'. See: cistern backup --list.`);
  for (const id of backup.devices) {
    const device = state.device(id);
    if (!device?.readable) continue;
    try {
      return { backup, body: await getBackup(nodes, device, name) };
    } catch {
      // The next device may have it.
    }
  }
  throw new Problem('no-good-replica', `None of the devices that hold backup '${name}' can be read now.`);
}
