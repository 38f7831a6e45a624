// What the node's routes work with, and the check that every request begins with.
import type { LRUCache } from 'lru-cache';
import type { Agent } from 'undici';
import type { FastifyRequest } from '../services/http.ts';
import type { Logger } from '../services/logging.ts';
import type { HttpMetrics } from '../services/metrics.ts';
import { Problem } from '../services/problems.ts';
import {
  type Binding,
  type GetTicket,
  type Keyring,
  type Receipt,
  signPart,
  type Ticket,
} from '../services/tickets.ts';
import type { BlobCache } from './blob-cache.ts';
import type { Content } from './blob-store.ts';
import type { NodeConfig } from './config.ts';
import type { Device } from './device.ts';
import type { Findings } from './findings.ts';

export interface NodeContext {
  config: NodeConfig;
  log: Logger;
  metrics: HttpMetrics;
  keyring: Keyring;
  /** Random, for each run of the node; its receipts are signed for it. */
  session: string;
  devices: Map<number, Device>;
  cache: BlobCache;
  findings: Findings;
  /** Get tickets whose signature was found good: a hot blob is asked for with one ticket many times. */
  checked: LRUCache<string, GetTicket>;
  /** For requests to other nodes and to trackers. */
  agent: Agent;
}

type DeviceOp = Exclude<Ticket['op'], 'node' | 'devices' | 'backup' | 'put-many'>;

/**
 * The request's ticket, if it permits `op` on the device and blob that the path names, and the device.
 * @throws Problem ticket-refused, device-unavailable (this node has no such device)
 */
export function permit<Op extends DeviceOp>(node: NodeContext, op: Op, request: FastifyRequest) {
  const { dev, fid } = request.params as { dev: number; fid?: number };
  const ticket = node.keyring.check(op, (request.query as { ticket?: string }).ticket);
  const named: { dev: number; fid?: number } = ticket;
  if (named.dev !== dev || named.fid !== fid) {
    throw new Problem('ticket-refused', 'The ticket is for another blob or device.');
  }
  return { ticket, device: deviceOf(node, dev) };
}

/** @throws Problem device-unavailable */
export function deviceOf(node: NodeContext, dev: number): Device {
  const device = node.devices.get(dev);
  if (device !== undefined) return device;
  throw new Problem('device-unavailable', `This node (${node.config.CISTERN_HOST}) has no device ${dev}.`);
}

/** The ticket of a download, as `permit` checks it, but its signature only once. */
export function permitGet(node: NodeContext, request: FastifyRequest) {
  const text = (request.query as { ticket?: string }).ticket ?? '';
  const { dev, fid } = request.params as { dev: number; fid: number };
  const known = node.checked.get(text);
  const device = node.devices.get(dev);
  if (known?.dev === dev && known.fid === fid && known.exp > Date.now() && device !== undefined) {
    return { ticket: known, device };
  }
  const permitted = permit(node, 'get', request);
  node.checked.set(text, permitted.ticket);
  return permitted;
}

/** This node's statement that one of its devices durably holds these bytes, signed. */
export function signReceipt(
  node: NodeContext,
  ticket: Binding & { dev: number; fid: number },
  { size, sha256 }: Content,
): Receipt {
  const { dev, fid, domain, key, class: className } = ticket;
  const bound = { fid, size, sha256, domain, key, class: className };
  const statement = { ...bound, dev, host: node.config.CISTERN_HOST, session: node.session, at: Date.now() };
  const [nodeKey] = node.keyring.nodeKeys(statement.host, statement.session);
  if (nodeKey === undefined) throw new Error('there is no cluster key');
  return { ...bound, parts: [signPart(nodeKey, statement)] };
}
