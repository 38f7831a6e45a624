// What goes wrong with the disks, and what operators do about it, one after the other: replicas rot or vanish behind their
// node's back, and volumes with all that is in them; disks fill up, are drained, are lost and replaced; classes want more copies, or fewer.
// A blob never loses its last good copy this way: before a disk or a volume is lost, all that was harmed must have been mended.
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { HEAD } from '../../storage-node/volumes/record.ts';
import { sha256 } from '../support/files.ts';
import {
  findReplica,
  flipBit,
  overwrite,
  type Replica,
  readReplica,
  replicasOn,
} from '../support/replicas.ts';
import { waitFor } from '../support/wait.ts';
import { ageReplicas } from './disks.ts';
import { pause } from './faults.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

const NO_TRASH = { minCopies: 2, trash: false, prefixes: ['gone-', 'hot/'] };
/** More than any disk has. */
const ALL_BYTES = String(2 ** 50);
const RESERVE = '1048576';
const MEND_MS = 60_000;

export class Losses {
  readonly #world: World;
  readonly #random: Random;
  /** Fid -> device, of replicas that were harmed. A blob is harmed once. */
  readonly #harmed = new Map<number, number>();
  #lost = 0;
  #newest: number;

  constructor(world: World, random: Random) {
    this.#world = world;
    this.#random = random;
    this.#newest = Math.max(...this.#devices().map(({ id }) => id));
  }

  /** Until `signal` is aborted; then all devices serve that were not lost, and classes are as at first. */
  async run(signal: AbortSignal): Promise<void> {
    while (await pause(this.#random.between(200, 1_500), signal)) {
      const deed = this.#random.weighted({
        harm: 10,
        fill: 2,
        drain: 3,
        class: 3,
        volume: 1,
        lose: this.#lost < 2 ? 1 : 0,
      });
      if (deed === 'harm') await this.#harm();
      if (deed === 'fill') await this.#fill();
      if (deed === 'drain') await this.#drain();
      if (deed === 'class') await this.wantCopies(this.#random.pick([2, 3]));
      if (deed === 'volume') await this.#loseVolume(signal);
      if (deed === 'lose') await this.#lose(signal);
    }
    await this.wantCopies(2);
  }

  /** A few replicas get a flipped bit, or vanish. */
  async #harm(): Promise<void> {
    const { db, cluster } = this.#world;
    const { rows } = await this.#patiently(() =>
      db.query<{ fid: number; devices: number[] }>(
        `SELECT l.fid::float8 AS fid, array_agg(l.device_id) AS devices
          FROM locations l JOIN blobs b ON b.fid = l.fid JOIN devices d ON d.id = l.device_id
          WHERE l.state = 'good' AND b.state = 'live' AND b.size > 0 AND d.state <> 'dead' AND l.fid <> ALL ($1)
          GROUP BY l.fid HAVING count(DISTINCT d.host_id) > 1 ORDER BY random() LIMIT $2`,
        [[...this.#harmed.keys()], this.#random.between(1, 3)],
      ),
    );
    for (const { fid, devices } of rows) {
      const device = this.#random.pick(devices);
      const replica = await findReplica(cluster, fid, device);
      const vanish = this.#random.chance(0.5);
      if (replica === undefined) continue;
      try {
        if (vanish) wipe(replica);
        else flipBit(replica, this.#random.between(0, replica.size - 1));
      } catch (error) {
        // It was removed meanwhile, as it should be.
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
        throw error;
      }
      this.#harmed.set(fid, device);
      this.#world.count(vanish ? 'replica vanished' : 'bit flipped');
    }
  }

  /** A node has no room for new files for a while. */
  async #fill(): Promise<void> {
    const node = this.#random.pick(this.#world.cluster.nodes);
    this.#world.count('disk full');
    for (const reserve of [ALL_BYTES, RESERVE]) {
      node.configure({ CISTERN_RESERVE_BYTES: reserve });
      await this.#world.alone([node], () => node.restart());
      await sleep(this.#random.between(500, 3_000));
    }
  }

  async #drain(): Promise<void> {
    const { id } = this.#random.pick(this.#devices());
    this.#world.count('device drained');
    await this.#setState(id, 'drain');
    await sleep(this.#random.between(500, 4_000));
    await this.#setState(id, 'alive');
  }

  /** Files that are there already get as many copies as well. */
  async wantCopies(copies: number): Promise<void> {
    this.#world.count('class changed');
    await this.#operate('PUT', '/v1/domains/demo/classes/fleeting', { ...NO_TRASH, copies });
  }

  /** A volume is lost, with all that is in it. */
  async #loseVolume(signal: AbortSignal): Promise<void> {
    if (!(await this.mended(signal))) return;
    const { id, path } = this.#random.pick(this.#devices());
    const held = [...(await replicasOn(path))].filter(([, { inVolume }]) => inVolume);
    if (held.length === 0) return;
    const [, { path: volume }] = this.#random.pick(held);
    rmSync(volume, { force: true });
    this.#world.count('volume vanished');
    for (const [fid, replica] of held) if (replica.path === volume) this.#harmed.set(fid, id);
  }

  /** A disk is lost for good; its host gets an empty one. */
  async #lose(signal: AbortSignal): Promise<void> {
    if (!(await this.mended(signal))) return;
    const { cluster } = this.#world;
    const node = this.#random.pick(cluster.nodes);
    const { id } = this.#random.pick(node.devices);
    this.#world.count('device lost');
    this.#lost++;
    await this.#world.alone([node], async () => {
      await node.kill();
      node.replaceDisk(id, ++this.#newest);
      await node.start();
    });
    await this.#setState(id, 'dead');
  }

  /** Waits until all that was harmed is right or does not count, and every blob has its copies. False: it takes long. */
  async mended(signal?: AbortSignal): Promise<boolean> {
    const { db } = this.#world;
    const mended = async () => {
      if (signal?.aborted) return true;
      await ageReplicas(db);
      // Nor does a repair that could not be done at first wait for minutes.
      await db.query('UPDATE repair SET next_try = now(), attempts = 0 WHERE next_try > now()');
      const waiting = await db.query('SELECT FROM repair');
      const short = await db.query(
        `SELECT FROM blobs b LEFT JOIN locations l ON l.fid = b.fid AND l.state = 'good'
          LEFT JOIN devices d ON d.id = l.device_id AND d.state <> 'dead'
          WHERE b.state = 'live' GROUP BY b.fid HAVING count(DISTINCT d.host_id) < 2`,
      );
      const { rows } = await db.query<{ fid: number; device: number; sha256: string }>(
        `SELECT l.fid::float8 AS fid, l.device_id AS device, encode(b.sha256, 'hex') AS sha256
          FROM unnest($1::bigint[], $2::int[]) AS harmed (fid, device)
          JOIN locations l ON l.fid = harmed.fid AND l.device_id = harmed.device JOIN blobs b ON b.fid = l.fid
          WHERE l.state = 'good' AND b.state = 'live'`,
        [[...this.#harmed.keys()], [...this.#harmed.values()]],
      );
      const held = new Map<number, Map<number, Replica>>();
      for (const { id, path } of this.#devices()) held.set(id, await replicasOn(path));
      const wrong = rows.filter(({ fid, device, sha256: right }) => {
        const replica = held.get(device)?.get(fid);
        return replica === undefined || sha256(readReplica(replica)) !== right;
      });
      return waiting.rowCount === 0 && short.rowCount === 0 && wrong.length === 0;
    };
    const end = waitFor(mended, { what: 'losses to be mended', timeout: MEND_MS, every: 500 });
    return (await end.catch(() => false)) && !signal?.aborted;
  }

  #devices() {
    return this.#world.cluster.nodes.flatMap(({ devices }) => devices);
  }

  #setState(id: number, state: string): Promise<void> {
    return this.#operate('PATCH', `/v1/devices/${id}`, { state });
  }

  /** An operator asks until a tracker has done it. */
  async #operate(method: string, path: string, body: object): Promise<void> {
    const { cluster } = this.#world;
    let tracker = 0;
    await this.#patiently(async () => {
      tracker = (tracker + 1) % cluster.trackers.length;
      const answer = await cluster.request(method, path, { token: cluster.adminToken, body, tracker });
      if (!answer.ok)
        throw new Error(`${method} ${path} was answered ${answer.status}: ${await answer.text()}`);
      return true;
    });
  }

  #patiently<T>(ask: () => Promise<T>) {
    return waitFor(ask, { what: 'the cluster to answer its operator', timeout: 60_000, every: 200 });
  }
}

/** Its file is gone; or its place in a volume holds zeros, its record's head included. */
function wipe(replica: Replica): void {
  if (replica.inVolume) overwrite(replica, Buffer.alloc(HEAD + replica.size), -HEAD);
  else rmSync(replica.path);
}
