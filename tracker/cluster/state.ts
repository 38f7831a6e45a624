// What a tracker knows of the cluster, ready to be asked synchronously: a snapshot that is read again all the time.
// While the database is away it keeps its last values.
import { delay } from '../../services/lifecycle.ts';
import type { Logger } from '../../services/logging.ts';
import { Problem } from '../../services/problems.ts';
import type { Database } from '../database/database.ts';
import {
  type ClassState,
  type DeviceState,
  type DomainState,
  type HostState,
  readSnapshot,
  type Snapshot,
} from './snapshot.ts';

export type { ClassState, DeviceState, DomainState, HostState };

export interface StateOptions {
  db: Pick<Database, 'query' | 'count' | 'writeSilence'>;
  log: Logger;
  /** A host without a heartbeat for so long is down. */
  downSeconds: number;
  /** How often the snapshot is read again. */
  stateSeconds: number;
}

/** For how long a device that failed a request is used only if no other can be. */
const SUSPECT_MS = 5_000;

export class ClusterState {
  readonly #options: StateOptions;
  readonly #stopping = new AbortController();
  readonly #suspects = new Map<number, number>();
  #snapshot: Snapshot;
  #index: Index;
  /** The database's clock minus our monotonic one, in milliseconds. */
  #offset = 0;
  #readAt = 0;
  /** Until then (our monotonic clock) hosts count as up as before the database was away. */
  #graceUntil = 0;
  #running: Promise<void> = Promise.resolve();
  #queued: Promise<void> | undefined;

  private constructor(options: StateOptions) {
    this.#options = options;
    this.#snapshot = { clusterId: '', databaseIdentity: '', now: 0, hosts: [], devices: [], domains: [] };
    this.#index = indexOf(this.#snapshot);
  }

  /** Reads the state for the first time, and from then on every `stateSeconds`. */
  static async open(options: StateOptions): Promise<ClusterState> {
    const state = new ClusterState(options);
    await state.refresh();
    void state.#follow();
    return state;
  }

  stop(): void {
    this.#stopping.abort();
  }

  get clusterId(): string {
    return this.#snapshot.clusterId;
  }

  /** Changes when the database failed over or was restored: what was allocated before must be dropped then. */
  get databaseIdentity(): string {
    return this.#snapshot.databaseIdentity;
  }

  /** The database's clock in milliseconds. It does not follow steps of this machine's own clock. */
  now(): number {
    return Math.round(performance.now() + this.#offset);
  }

  /** Milliseconds since the snapshot was read; it grows while the database is away. */
  get ageMs(): number {
    return performance.now() - this.#readAt;
  }

  hosts(): readonly HostState[] {
    return this.#snapshot.hosts;
  }

  host(name: string): HostState | undefined {
    return this.#index.hosts.get(name);
  }

  devices(): readonly DeviceState[] {
    return this.#snapshot.devices;
  }

  device(id: number): DeviceState | undefined {
    return this.#index.devices.get(id);
  }

  domains(): readonly DomainState[] {
    return this.#snapshot.domains;
  }

  /**
   * A domain by its name. One that is not in the snapshot may have been made by another tracker just now, so the
   * database is asked.
   * @throws Problem domain-not-found
   */
  async domain(name: string): Promise<DomainState> {
    const known = this.#index.domains.get(name);
    if (known !== undefined) return known;
    await this.refresh();
    const found = this.#index.domains.get(name);
    if (found === undefined) throw new Problem('domain-not-found', `There is no domain '${name}'.`);
    return found;
  }

  domainById(id: number): DomainState | undefined {
    return this.#index.domainsById.get(id);
  }

  classById(id: number): ClassState | undefined {
    return this.#index.classes.get(id);
  }

  /**
   * The class of a new file: the one named, else that with the longest prefix that fits its key, else 'default'.
   * @throws Problem class-not-found
   */
  classFor(domain: DomainState, key: string, name?: string): ClassState {
    const wanted = name ?? nameByPrefix(domain, key);
    const found = domain.classes.find((one) => one.name === wanted);
    if (found !== undefined) return found;
    throw new Problem('class-not-found', `Domain '${domain.name}' has no class '${wanted}'.`);
  }

  /** A request to the device failed just now: for some seconds placement and reads put it last. */
  suspect(deviceId: number): void {
    this.#suspects.set(deviceId, performance.now() + SUSPECT_MS);
  }

  isSuspect(deviceId: number): boolean {
    const until = this.#suspects.get(deviceId);
    if (until === undefined) return false;
    if (until > performance.now()) return true;
    this.#suspects.delete(deviceId);
    return false;
  }

  /** Reads the snapshot again. It then holds every change that was committed before the call. */
  refresh(): Promise<void> {
    // A read that is under way may have begun before the caller's change: one that begins later is needed.
    this.#queued ??= this.#running
      .catch(() => undefined)
      .then(() => {
        this.#queued = undefined;
        this.#running = this.#read();
        return this.#running;
      });
    return this.#queued;
  }

  async #read(): Promise<void> {
    const before = performance.now();
    const downMs = this.#options.downSeconds * 1000;
    // No heartbeat could be stored while the database was away or took no writes, so all hosts look down after it. They
    // count as up, if they were, until they had the time to send one.
    const { db, downSeconds } = this.#options;
    const unread = this.#readAt > 0 && before - this.#readAt > downMs / 2;
    // Heartbeats are judged as of the moment when they could be stored.
    const unwritten = db.writeSilence;
    if (unread || unwritten > 0) this.#graceUntil = before + downMs;
    const graced = before < this.#graceUntil ? this.#snapshot.hosts.filter((host) => host.up) : [];
    const assumeUp = new Set(graced.map((host) => host.id));
    const snapshot = await readSnapshot(db, downSeconds + unwritten, assumeUp);
    this.#readAt = performance.now();
    this.#offset = snapshot.now - (before + this.#readAt) / 2;
    this.#snapshot = snapshot;
    this.#index = indexOf(snapshot);
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stopping;
    const { log, stateSeconds } = this.#options;
    let failed = false;
    while (!signal.aborted) {
      await delay(stateSeconds * 1000, signal);
      if (signal.aborted) return;
      try {
        await this.refresh();
        if (failed) log.info("the cluster's state can be read again");
        failed = false;
      } catch (err) {
        if (!failed) log.warn({ err }, "the cluster's state cannot be read; the last one known stays in use");
        failed = true;
      }
    }
  }
}

interface Index {
  hosts: Map<string, HostState>;
  devices: Map<number, DeviceState>;
  domains: Map<string, DomainState>;
  domainsById: Map<number, DomainState>;
  classes: Map<number, ClassState>;
}

function indexOf({ hosts, devices, domains }: Snapshot): Index {
  return {
    hosts: new Map(hosts.map((host) => [host.name, host])),
    devices: new Map(devices.map((device) => [device.id, device])),
    domains: new Map(domains.map((domain) => [domain.name, domain])),
    domainsById: new Map(domains.map((domain) => [domain.id, domain])),
    classes: new Map(domains.flatMap((domain) => domain.classes.map((one) => [one.id, one]))),
  };
}

function nameByPrefix(domain: DomainState, key: string): string {
  let name = 'default';
  let longest = -1;
  for (const { name: candidate, prefixes } of domain.classes) {
    for (const prefix of prefixes) {
      if (prefix.length > longest && key.startsWith(prefix)) {
        name = candidate;
        longest = prefix.length;
      }
    }
  }
  return name;
}
