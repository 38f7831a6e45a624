// Where the bytes of replicas stand on the disks, in files of their own or in volumes. It is found out with the node's own
// code, so that tests can look at them, and damage them behind their node's back, without knowing which it is.
import { closeSync, existsSync, openSync, readdirSync, readSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { DirectorySync } from '../../storage-node/directory-sync.ts';
import { blobPath, fidsIn, leaves } from '../../storage-node/layout.ts';
import { readMarker } from '../../storage-node/marker.ts';
import { readRecords } from '../../storage-node/volumes/read-records.ts';
import { HEAD } from '../../storage-node/volumes/record.ts';
import { isBehind, Slots } from '../../storage-node/volumes/slots.ts';
import { VolumeFiles } from '../../storage-node/volumes/volume-files.ts';
import type { NodePart } from './cluster.ts';

type Nodes = { nodes: Pick<NodePart, 'devices'>[] };

export interface Replica {
  /** Of its own file, or of its volume: whoever removes that takes other replicas along. */
  path: string;
  /** Where its first byte is in there. */
  start: number;
  size: number;
  inVolume: boolean;
}

/** All replicas on a device, by fid. */
export async function replicasOn(root: string): Promise<Map<number, Replica>> {
  for (;;) {
    try {
      return new Map([...(await inFiles(root)), ...(await inVolumes(root))]);
    } catch (error) {
      // A volume was compacted meanwhile: its replicas stand elsewhere now.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || !existsSync(root)) throw error;
    }
  }
}

async function inFiles(root: string): Promise<Map<number, Replica>> {
  const found = new Map<number, Replica>();
  for await (const leaf of leaves(root)) {
    for (const fid of await fidsIn(root, leaf)) {
      const path = join(root, blobPath(fid));
      const size = statSync(path, { throwIfNoEntry: false })?.size;
      if (size !== undefined) found.set(fid, { path, start: 0, size, inVolume: false });
    }
  }
  return found;
}

/** The last record of a fid is its replica, as it is for recovery: slots on the disk may not know of it yet. */
async function inVolumes(root: string): Promise<Map<number, Replica>> {
  const disk = await readMarker(root).catch(() => undefined);
  const ground = {
    root,
    directories: new DirectorySync(root),
    filesystem: () => disk?.filesystem,
    uuid: () => disk?.marker?.uuid ?? null,
  };
  const files = new VolumeFiles(ground, 0);
  const slots = new Slots(ground);
  const found = new Map<number, Replica>();
  for (const { volume } of await files.list()) {
    for await (const { offset, head } of readRecords(files, volume, 0)) {
      const slot = await slots.find(head.fid);
      if (slot?.there === false && !isBehind({ volume, offset }, slot)) continue;
      const place = { path: files.path(volume), start: offset + HEAD };
      found.set(head.fid, { ...place, size: head.size, inVolume: true });
    }
  }
  return found;
}

/** The directory of a device. */
export function rootOf({ nodes }: Nodes, device: number): string {
  const found = nodes.flatMap((node) => node.devices).find(({ id }) => id === device);
  if (found === undefined) throw new Error(`there is no device ${device}`);
  return found.path;
}

/** Undefined if it is not there. */
export async function findReplica(cluster: Nodes, fid: number, device: number): Promise<Replica | undefined> {
  return (await replicasOn(rootOf(cluster, device))).get(fid);
}

/** A replica that must be there. */
export async function replicaOf(cluster: Nodes, fid: number, device: number): Promise<Replica> {
  const found = await findReplica(cluster, fid, device);
  if (found === undefined) throw new Error(`blob ${fid} is not on device ${device}`);
  return found;
}

/** The devices that have a blob on their disk. */
export async function holdersOf(cluster: Nodes, fid: number): Promise<number[]> {
  const devices = cluster.nodes.flatMap((node) => node.devices);
  const held = await Promise.all(devices.map(async ({ path }) => (await replicasOn(path)).has(fid)));
  return devices.filter((_, i) => held[i]).map(({ id }) => id);
}

/** Every replica on the disks as 'fid/device', and the temporary files of uploads, which should not be left behind. */
export async function onDisks({ nodes }: Nodes): Promise<{ replicas: Set<string>; temporary: string[] }> {
  const replicas = new Set<string>();
  const temporary: string[] = [];
  for (const { id, path } of nodes.flatMap((node) => node.devices)) {
    for (const fid of (await replicasOn(path)).keys()) replicas.add(`${fid}/${id}`);
    const names = existsSync(join(path, 'tmp')) ? readdirSync(join(path, 'tmp')) : [];
    temporary.push(...names.filter((name) => /^\d/.test(name)).map((name) => `${path}/tmp/${name}`));
  }
  return { replicas, temporary };
}

/** The same as one list. */
export async function allOnDisks(cluster: Nodes): Promise<string[]> {
  const { replicas, temporary } = await onDisks(cluster);
  return [...replicas, ...temporary];
}

/** What stands where its bytes should be. */
export function readReplica({ path, start, size }: Replica): Buffer {
  const file = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(size);
    return bytes.subarray(0, readSync(file, bytes, 0, size, start));
  } finally {
    closeSync(file);
  }
}

/** Writes other bytes over some of it. */
export function overwrite({ path, start }: Replica, bytes: string | Buffer, at = 0): void {
  const file = openSync(path, 'r+');
  try {
    writeSync(file, Buffer.from(bytes as string), 0, undefined, start + at);
  } finally {
    closeSync(file);
  }
}

export function flipBit(replica: Replica, at: number): void {
  overwrite(replica, Buffer.from([readReplica(replica).readUInt8(at) ^ 1]), at);
}
