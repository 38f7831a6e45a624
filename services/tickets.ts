// Tickets: signed, expiring permissions for one operation at a storage node; and the receipts that nodes sign.
// A ticket is `base64url(JSON).base64url(HMAC-SHA-256)` under the cluster key. Two cluster keys are valid at once, so
// that the key can be rotated while the cluster serves.
import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { Problem } from './problems.ts';

interface Expiring {
  /** When it stops being valid: milliseconds since the epoch, by the tracker's view of the database's clock. */
  exp: number;
}

/** What the bytes are for. Goes into the receipt, so that it cannot be used for another name. */
export interface Binding {
  domain: string;
  key: string;
  class: string;
}

export interface PutTicket extends Expiring, Binding {
  op: 'put';
  dev: number;
  fid: number;
  /** Most bytes that may be written; this much space is reserved. */
  max: number;
  /** The rest of the chain: the node forwards the bytes to the first of these URLs (each carries its own ticket). */
  next?: string;
}

/** Small blobs for a host's devices, in one request: the body is a manifest of them (BatchEntry[]) and then their bytes. */
export interface PutManyTicket extends Expiring {
  op: 'put-many';
  /** Bytes of the body, and of the manifest in it. */
  size: number;
  manifest: number;
  /** Of the manifest, in hex. */
  sha256: string;
}

export interface GetTicket extends Expiring {
  op: 'get';
  dev: number;
  fid: number;
  size: number;
  /** Hex. What the node verifies the bytes against. */
  sha256: string;
  /** Response headers that the node must send (content type, disposition, ETag, caching ...), lower-case names. */
  headers?: Record<string, string>;
}

export interface DeleteTicket extends Expiring {
  op: 'delete';
  dev: number;
  fid: number;
}

export interface VerifyTicket extends Expiring {
  op: 'verify';
  dev: number;
  fid: number;
}

export interface CopyTicket extends Expiring, Binding {
  op: 'copy';
  dev: number;
  fid: number;
  size: number;
  sha256: string;
}

/** To read several small blobs in one answer. */
export interface ReadManyTicket extends Expiring {
  op: 'read-many';
  dev: number;
  blobs: [fid: number, size: number][];
}

/** To copy many small blobs to a device: those that the order names. */
export interface CopyManyTicket extends Expiring {
  op: 'copy-many';
  dev: number;
  /** SHA-256 of the order's JSON, hex. */
  order: string;
}

/** For what is about a device as a whole. */
export interface DeviceTicket extends Expiring {
  op: 'inventory' | 'journal' | 'check';
  dev: number;
}

/** For a backup on a device, or for the list of them if none is named. */
export interface BackupTicket extends Expiring {
  op: 'backup';
  dev: number;
  name?: string;
  /** Most bytes that may be stored; without it, none may. */
  max?: number;
}

/** To ask a node which devices it has. */
export interface DevicesTicket extends Expiring {
  op: 'devices';
}

/** A storage node's own permission at the trackers: to register, and to send heartbeats. */
export interface NodeTicket extends Expiring {
  op: 'node';
  host: string;
}

export type Ticket =
  | PutTicket
  | PutManyTicket
  | GetTicket
  | DeleteTicket
  | VerifyTicket
  | CopyTicket
  | ReadManyTicket
  | CopyManyTicket
  | DeviceTicket
  | BackupTicket
  | DevicesTicket
  | NodeTicket;

/** Clocks may differ by this much; it is added to every expiry when it is checked. */
export const CLOCK_TOLERANCE_MS = 5_000;

/** Signs and checks tickets, and derives the keys that nodes sign receipts with. */
export class Keyring {
  readonly #keys: KeyObject[];
  /** Of the hosts and sessions asked for last. */
  readonly #nodeKeys = new LRUCache<string, KeyObject[]>({ max: 1000 });

  /** @param previous the former cluster key, still accepted */
  constructor(current: string, previous?: string) {
    this.#keys = [current, previous]
      .filter((key) => key !== undefined)
      .map((key) => createSecretKey(Buffer.from(key)));
  }

  sign(ticket: Ticket): string {
    const payload = Buffer.from(JSON.stringify(ticket)).toString('base64url');
    return `${payload}.${hmac(this.#keys[0] as KeyObject, `ticket\0${payload}`).toString('base64url')}`;
  }

  /**
   * Checks signature, operation and expiry, once, at the start of a request.
   * @throws Problem ticket-refused
   */
  check<Op extends Ticket['op']>(
    op: Op,
    ticket: string | undefined,
    now = Date.now(),
  ): Extract<Ticket, { op: Op }> {
    if (!ticket) throw new Problem('ticket-refused', 'A ticket is required.');
    const [payload = '', signature = ''] = ticket.split('.');
    const valid = this.#keys.some((key) => same(hmac(key, `ticket\0${payload}`), signature));
    if (!valid) throw new Problem('ticket-refused', 'The ticket is not signed by this cluster.');
    const content = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Ticket;
    if (content.op !== op)
      throw new Problem('ticket-refused', `The ticket is for '${content.op}', not for '${op}'.`);
    if (content.exp + CLOCK_TOLERANCE_MS < now)
      throw new Problem('ticket-refused', 'The ticket has expired.');
    return content as Extract<Ticket, { op: Op }>;
  }

  /**
   * The key that one run of one storage node signs its receipts with. `session` is a random text that the node makes
   * at its start and registers; so no node can sign for another by mistake, and no key is stored anywhere.
   */
  nodeKeys(host: string, session: string): KeyObject[] {
    const name = `${host}\0${session}`;
    let keys = this.#nodeKeys.get(name);
    if (keys === undefined) {
      keys = this.#keys.map((key) => createSecretKey(hmac(key, `node\0${name}`)));
      this.#nodeKeys.set(name, keys);
    }
    return keys;
  }
}

/** One device's statement, signed by its node: it durably holds these bytes. */
export interface ReceiptPart {
  host: string;
  session: string;
  dev: number;
  /** When it became durable, milliseconds since the epoch by the node's clock. */
  at: number;
  signature: string;
}

/** What a direct upload is committed with. */
export interface Receipt extends Binding {
  fid: number;
  size: number;
  sha256: string;
  parts: ReceiptPart[];
}

type Signed = Omit<Receipt, 'parts'> & Omit<ReceiptPart, 'signature'>;

/** Signs one part of a receipt with the node's own key. */
export function signPart(nodeKey: KeyObject, statement: Signed): ReceiptPart {
  const { host, session, dev, at } = statement;
  return { host, session, dev, at, signature: hmac(nodeKey, statementText(statement)).toString('base64url') };
}

/** True if `part` of `receipt` was signed with one of `nodeKeys` (of the part's host and session). */
export function partIsGenuine(nodeKeys: KeyObject[], receipt: Receipt, part: ReceiptPart): boolean {
  const text = statementText({ ...receipt, ...part });
  return nodeKeys.some((key) => same(hmac(key, text), part.signature));
}

function statementText(s: Signed): string {
  return `receipt\0${JSON.stringify([s.fid, s.size, s.sha256, s.domain, s.key, s.class, s.dev, s.host, s.session, s.at])}`;
}

function hmac(key: KeyObject, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function same(expected: Buffer, given: string): boolean {
  const bytes = Buffer.from(given, 'base64url');
  return bytes.length === expected.length && timingSafeEqual(bytes, expected);
}
