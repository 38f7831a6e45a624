// `cistern restore`: the database is lost, the storage nodes are there. Loads the newest backup that is found on their
// devices (or one that is given) into an empty database, compares it with what the devices hold, and gives what was
// stored since its names again. No tracker runs meanwhile; nodes serve whoever has the cluster key.
import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import pg from 'pg';
import { failPoint } from '../../services/fail-points.ts';
import type { Logger } from '../../services/logging.ts';
import type { Backup, DeviceReport } from '../../services/protocol.ts';
import type { Keyring } from '../../services/tickets.ts';
import type { Tls } from '../../services/tls.ts';
import { ClusterState, type DeviceState } from '../cluster/state.ts';
import { Database } from '../database/database.ts';
import { NodeClient } from '../transfer/node-client.ts';
import type { Header } from './format.ts';
import { load, NotEmpty } from './load.ts';
import { type Named, nameAgain } from './name-again.ts';
import { getBackup, listBackups, listDevices, readJournal } from './node-backups.ts';
import { type Holding, type Lost, lostNames, type Newcomer, reconcile } from './reconcile.ts';

export interface RestoreOptions {
  /** Of an empty database. */
  databaseUrl: string;
  keyring: Keyring;
  /** How the nodes are connected to. */
  tls?: Tls;
  /** URLs of storage nodes. Those that the backup knows beside them are asked too. */
  nodes: string[];
  /** A backup in a file, instead of the newest on the devices. */
  file?: string;
  log: Logger;
  /** Told of each step, for the operator. */
  onStep(step: string): void;
}

export interface Restored {
  header: Header;
  /** Where the backup was. */
  source: string;
  /** Nodes and devices that could not be asked: what only they hold is not in the result. */
  unreached: string[];
  /** Replicas that were not where the backup says, and such that it did not know yet. */
  missing: number;
  adopted: number;
  /** What was stored since the backup, with its name again or why it has none. */
  named: Named[];
  /** Names without any good replica on a device that was asked. */
  lost: Lost[];
}

/** Nothing can be restored; the message is for the operator. */
export class CannotRestore extends Error {}

interface Found {
  device: DeviceState;
  report: DeviceReport;
}

export async function restore(options: RestoreOptions): Promise<Restored> {
  const { databaseUrl, keyring, log, onStep } = options;
  const known = { now: () => Date.now(), devices: () => [], suspect: () => undefined };
  const nodes = new NodeClient(known, keyring, options.tls);
  const connect = async () => {
    const client = new pg.Client({ connectionString: databaseUrl, application_name: 'cistern-restore' });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  };
  let db: Database | undefined;
  let state: ClusterState | undefined;
  try {
    // Before anybody else is asked: without a database there is nothing to be done.
    await (await connect()).end();
    const unreached: string[] = [];
    const asked = new Set<string>();
    const found = await survey(nodes, options.nodes, asked, unreached);
    onStep(`found ${found.length} devices on ${asked.size - unreached.length} storage nodes`);
    const { header, source } = await loadNewest(options, nodes, found, connect);
    failPoint('restore-loaded');
    onStep(`loaded the backup of ${header.at} (${source})`);
    db = new Database({ url: databaseUrl, max: 4, synchronous: false, log });
    state = await ClusterState.open({ db, log, downSeconds: 10, stateSeconds: 60 });
    found.push(
      ...(await survey(
        nodes,
        state.hosts().map(({ url }) => url),
        asked,
        unreached,
      )),
    );
    const client = await connect();
    try {
      const usable = found.filter(({ report }) => belongs(report, state as ClusterState, unreached));
      const { newcomers, missing, adopted } = await reconcile(
        client,
        usable.map((one) => holding(nodes, one)),
      );
      failPoint('restore-reconciled');
      onStep(`compared ${usable.length} devices: ${newcomers.length} blobs are newer than the backup`);
      const named = await nameVerified(nodes, db, state, found, newcomers, Date.parse(header.at));
      return { header, source, unreached, missing, adopted, named, lost: await lostNames(client) };
    } finally {
      await client.end();
    }
  } finally {
    state?.stop();
    await db?.close();
    await nodes.close();
  }
}

/** Asks nodes that were not asked yet for their devices. */
async function survey(
  nodes: NodeClient,
  urls: string[],
  asked: Set<string>,
  unreached: string[],
): Promise<Found[]> {
  const found: Found[] = [];
  for (const url of urls.map((one) => one.replace(/\/$/, ''))) {
    if (asked.has(url)) continue;
    asked.add(url);
    try {
      for (const report of await listDevices(nodes, url)) {
        const host = { id: asked.size, name: url, url };
        found.push({ report, device: { id: report.id, free: report.free, host } as DeviceState });
      }
    } catch (error) {
      unreached.push(`storage node ${url}: ${(error as Error).message}`);
    }
  }
  return found;
}

/** Loads the newest backup that can be read whole. */
async function loadNewest(
  { databaseUrl, file }: RestoreOptions,
  nodes: NodeClient,
  found: Found[],
  connect: () => Promise<pg.Client>,
): Promise<{ header: Header; source: string }> {
  if (file !== undefined) {
    const header = await load(databaseUrl, connect, createReadStream(file).pipe(createGunzip()));
    return { header, source: file };
  }
  const candidates: { backup: Backup; device: DeviceState }[] = [];
  for (const { device } of found) {
    const backups = await listBackups(nodes, device).catch(() => []);
    candidates.push(...backups.map((backup) => ({ backup, device })));
  }
  candidates.sort((a, b) => (a.backup.name < b.backup.name ? 1 : -1));
  const failures: string[] = [];
  for (const { backup, device } of candidates) {
    try {
      const zipped = await getBackup(nodes, device, backup.name);
      const unzipped = createGunzip();
      zipped.on('error', (error) => unzipped.destroy(error)).pipe(unzipped);
      const header = await load(databaseUrl, connect, unzipped);
      return { header, source: `${backup.name} on device ${device.id}` };
    } catch (error) {
      // It is not the backup's fault; or else another device, or an older one, may do better.
      if (error instanceof NotEmpty || error instanceof pg.DatabaseError) throw error;
      failures.push(`${backup.name} on device ${device.id}: ${(error as Error).message}`);
    }
  }
  throw new CannotRestore(
    failures.length > 0
      ? `no backup can be used: ${failures.join('; ')}`
      : 'no backup was found on any device that could be asked',
  );
}

/** Only the disk that the backup knows under that number is compared. */
function belongs(report: DeviceReport, state: ClusterState, unreached: string[]): boolean {
  const device = state.device(report.id);
  if (device === undefined || device.state === 'dead') return false;
  if (report.condition === 'out')
    unreached.push(`device ${report.id} is out of service: ${report.why ?? 'no reason given'}`);
  else if (report.uuid !== device.uuid)
    unreached.push(`device ${report.id} is another disk than the backup knows`);
  return report.condition !== 'out' && report.uuid === device.uuid;
}

function holding(nodes: NodeClient, { device, report }: Found): Holding {
  return {
    device: device.id,
    highestFid: report.highestFid,
    blobs: inventory(nodes, device),
    records: readJournal(nodes, device),
  };
}

async function* inventory(nodes: NodeClient, device: DeviceState) {
  for (let after: number | undefined = 0; after !== undefined; ) {
    const page: Awaited<ReturnType<NodeClient['inventory']>> = await nodes.inventory(device, {
      after,
      limit: 10_000,
    });
    yield* page.blobs;
    after = page.next;
  }
}

/** Reads every newcomer's replicas again; those that are what their records say are named. */
async function nameVerified(
  nodes: NodeClient,
  db: Database,
  state: ClusterState,
  found: Found[],
  newcomers: Newcomer[],
  takenAt: number,
): Promise<Named[]> {
  const devices = new Map(found.map(({ device }) => [device.id, device]));
  const good: Newcomer[] = [];
  const bad: Named[] = [];
  for (const newcomer of newcomers) {
    if (newcomer.key === null) {
      bad.push({ newcomer, why: 'its devices have no record of its name' });
      continue;
    }
    const held = await verified(nodes, devices, newcomer);
    if (held.length > 0) good.push({ ...newcomer, devices: held });
    else bad.push({ newcomer, why: 'no replica of it is good' });
  }
  return [...(await nameAgain(db, state, good, takenAt)), ...bad];
}

async function verified(
  nodes: NodeClient,
  devices: Map<number, DeviceState>,
  { fid, size, sha256, devices: holders }: Newcomer,
): Promise<number[]> {
  const good: number[] = [];
  for (const id of holders) {
    const device = devices.get(id);
    if (device === undefined) continue;
    const there = await nodes.verify(device, { fid, size }).catch(() => undefined);
    if (there?.sha256 === sha256 && there.size === size) good.push(id);
  }
  return good;
}
