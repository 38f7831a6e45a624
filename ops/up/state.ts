// The state directory of `cistern up`: secrets, which hosts and devices there are, and who runs here now.
//   secrets.json    keys, passwords and tokens of this cluster
//   layout.json     ports and device numbers, which must not change between starts
//   up.json         while it runs: what the `cistern` commands need to find it
//   processes.json  the services' processes, so that a start after a crash can wait for their end
//   lock            held while it runs
//   postgres/ h1/dev1/ ... logs/
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Failure } from '../lib/failure.ts';

export interface Secrets {
  clusterKey: string;
  adminToken: string;
  databasePassword: string;
  /** Made by the tracker at the first start. */
  demoToken?: string;
}

export interface HostLayout {
  name: string;
  port?: number;
  /** Numbers of its devices, unique in the cluster; `<state>/<host>/dev<N>`. */
  devices: number[];
}

export interface Layout {
  postgresPort?: number;
  hosts: HostLayout[];
}

/** `up.json`, and with `--json` the line on stdout (without what is marked). */
export interface Running {
  /** Of the supervisor (not in the line). */
  pid: number;
  tracker: string;
  trackers: string[];
  domain: string;
  token: string;
  /** (not in the line) */
  adminToken: string;
  nodes: { host: string; url: string; pid: number; devices: { id: number; path: string }[] }[];
  database: string;
}

export class State {
  readonly directory: string;
  // The lock is its open transaction.
  readonly #lock: DatabaseSync;

  /**
   * Opens the state directory, making it if need be, and locks it until this process ends, however it ends.
   * @throws Failure if another `cistern up` runs there
   */
  constructor(directory: string) {
    this.directory = directory;
    // Others may pass through (PostgreSQL's user must), but neither look nor read.
    mkdirSync(this.path('logs'), { recursive: true, mode: 0o711 });
    this.#lock = this.#takeLock();
    this.remove('up.json');
  }

  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  logFile(name: string): string {
    return this.path('logs', `${name}.log`);
  }

  /** This cluster's secrets, made at the first start. */
  secrets(): Secrets {
    const made = this.read<Secrets>('secrets.json');
    if (made !== undefined) return made;
    const random = () => randomBytes(32).toString('base64url');
    const secrets = { clusterKey: random(), adminToken: random(), databasePassword: random() };
    this.write('secrets.json', secrets);
    return secrets;
  }

  /**
   * Which hosts to start: the first `nodes` there are, and new ones with `devices` each if there are too few. Device
   * directories are made here and never again: one that is missing later is a lost disk, not an empty one.
   */
  layout(nodes: number | undefined, devices: number): Layout {
    const layout = this.read<Layout>('layout.json') ?? { hosts: [] };
    const wanted = nodes ?? (layout.hosts.length || 3);
    while (layout.hosts.length < wanted) {
      const next = Math.max(0, ...layout.hosts.flatMap((host) => host.devices)) + 1;
      const host = {
        name: `h${layout.hosts.length + 1}`,
        devices: Array.from({ length: devices }, (_, i) => next + i),
      };
      for (const id of host.devices) {
        mkdirSync(this.devicePath(host.name, id), { recursive: true, mode: 0o700 });
      }
      layout.hosts.push(host);
    }
    this.write('layout.json', layout);
    return layout;
  }

  devicePath(host: string, id: number): string {
    return this.path(host, `dev${id}`);
  }

  read<T>(name: string): T | undefined {
    if (!existsSync(this.path(name))) return undefined;
    return JSON.parse(readFileSync(this.path(name), 'utf8')) as T;
  }

  /** Writes a file that only its owner may read, whole or not at all. */
  write(name: string, content: object): void {
    const temporary = this.path(`${name}.new`);
    writeFileSync(temporary, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600, flush: true });
    renameSync(temporary, this.path(name));
  }

  remove(name: string): void {
    rmSync(this.path(name), { force: true });
  }

  /** Lets the next `cistern up` in. */
  close(): void {
    this.remove('up.json');
    this.#lock.close();
  }

  // Node has no flock. An exclusive SQLite transaction is one: the kernel drops it with the process.
  #takeLock(): DatabaseSync {
    const lock = new DatabaseSync(this.path('lock'));
    try {
      lock.exec('BEGIN EXCLUSIVE');
      return lock;
    } catch (error) {
      if ((error as { errcode?: number }).errcode !== SQLITE_BUSY) throw error;
      const other = this.read<Running>('up.json');
      const who = other === undefined ? '' : `: ${other.tracker}, process ${other.pid}`;
      throw new Failure(`cistern up already runs in ${this.directory}${who}`, {
        todo: 'use that one, stop it, or name another directory with --state',
      });
    }
  }
}

const SQLITE_BUSY = 5;
