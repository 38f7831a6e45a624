// What backup and restore ask of storage nodes: the backups on their devices, and the journals of what they hold.
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { Backup, Backups, DeviceReport, JournalEntry } from '../../services/protocol.ts';
import type { BackupTicket } from '../../services/tickets.ts';
import type { DeviceState } from '../cluster/state.ts';
import type { NodeClient } from '../transfer/node-client.ts';

const LONGEST_MS = 60 * 60_000;

/** Stores a backup of at most `max` bytes, which are set aside; answers with what has become durable there. */
export async function putBackup(
  nodes: NodeClient,
  device: DeviceState,
  {
    name,
    max,
    body,
    signal,
  }: { name: string; max: number; body: Readable; signal?: AbortSignal | undefined },
): Promise<Backup> {
  const ticket: BackupTicket = { op: 'backup', dev: device.id, name, max, exp: nodes.soon() };
  const answer = await nodes.request(device, 'PUT', ticket, { signal }, { body, headersTimeout: LONGEST_MS });
  return (await answer.body.json()) as Backup;
}

/** Opens a backup's bytes; they break off if they are not what was stored. @throws Problem not-found */
export async function getBackup(nodes: NodeClient, device: DeviceState, name: string): Promise<Readable> {
  const ticket: BackupTicket = { op: 'backup', dev: device.id, name, exp: nodes.soon() };
  return (await nodes.request(device, 'GET', ticket, {})).body;
}

/** @throws Problem not-found */
export async function deleteBackup(nodes: NodeClient, device: DeviceState, name: string): Promise<void> {
  const ticket: BackupTicket = { op: 'backup', dev: device.id, name, exp: nodes.soon() };
  await (await nodes.request(device, 'DELETE', ticket, {})).body.dump();
}

/** The backups on a device, by name. */
export async function listBackups(nodes: NodeClient, device: DeviceState): Promise<Backup[]> {
  const ticket: BackupTicket = { op: 'backup', dev: device.id, exp: nodes.soon() };
  const answer = await nodes.request(device, 'GET', ticket, {});
  return ((await answer.body.json()) as Backups).backups;
}

/** All that a device has on record about the blobs that it holds, by fid. */
export async function* readJournal(nodes: NodeClient, device: DeviceState): AsyncGenerator<JournalEntry> {
  const ticket = { op: 'journal' as const, dev: device.id, exp: nodes.soon() };
  const answer = await nodes.request(device, 'GET', ticket, {}, { headersTimeout: LONGEST_MS });
  for await (const line of createInterface({ input: answer.body, crlfDelay: Number.POSITIVE_INFINITY })) {
    if (line !== '') yield JSON.parse(line) as JournalEntry;
  }
}

/** Which devices the node at `url` has. @throws NodeUnreachable */
export async function listDevices(nodes: NodeClient, url: string): Promise<DeviceReport[]> {
  // Only its URL matters: the request is about no device.
  const nobody = { id: 0, host: { id: 0, name: url, url } } as DeviceState;
  const answer = await nodes.request(nobody, 'GET', { op: 'devices', exp: nodes.soon() }, {});
  return (await answer.body.json()) as DeviceReport[];
}
