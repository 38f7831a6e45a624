// Requests from the tracker to storage nodes: signs the ticket, keeps connections alive, and tells apart what a node
// answered (a Problem) from a node that did not answer as it should (NodeUnreachable).
import { hash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { Agent, type Dispatcher } from 'undici';
import { formatDigest } from '../../services/digests.ts';
import { Problem, type ProblemName, problemFrom } from '../../services/problems.ts';
import type { BatchResult, CopiedMany, CopyManyOrder, Inventory, Verified } from '../../services/protocol.ts';
import type { Binding, GetTicket, Keyring, PutTicket, Receipt, Ticket } from '../../services/tickets.ts';
import type { ClusterState, DeviceState } from '../cluster/state.ts';
import { type Batch, Batches, isSmall } from './batches.ts';

/** The node could not be reached, did not answer in time, or did not answer as a storage node does. */
export class NodeUnreachable extends Error {
  override name = 'NodeUnreachable';
}

/** What names an immutable blob and proves its bytes. `size` in bytes, `sha256` in hex. */
export interface BlobRef {
  fid: number;
  size: number;
  sha256: string;
}

/** What a device holds durably. */
export type Content = Omit<BlobRef, 'fid'>;

/** A blob, and what a storage node keeps beside it. */
export interface BoundBlob extends BlobRef {
  binding: Binding;
}

/** What requests to nodes ask of, and tell, the ClusterState. */
export type KnownNodes = Pick<ClusterState, 'now' | 'devices' | 'suspect'>;

interface Common {
  /** Follows the client's request through the nodes' logs. */
  requestId?: string | undefined;
  /** Gives the request up; the promise is then rejected with the signal's reason. */
  signal?: AbortSignal | undefined;
}

export interface PutOrder extends Common {
  fid: number;
  /** Most bytes that the node may write. */
  max: number;
  binding: Binding;
  body: Buffer | Readable;
  /** Bytes of the body, if they are known and it is a stream. */
  length?: number | undefined;
  /** What the client announced; the node checks it. */
  sha256?: string | undefined;
  /** Longest wait for the answer after the body was sent, and for the node to take more of it. */
  timeoutMs?: number;
}

/** Tickets of the tracker's own requests are used at once. */
const OWN_TICKET_MS = 60_000;
const CONNECT_MS = 3_000;
const ANSWER_MS = 10_000;
// The least that a node is expected to read and write a second when it copies or verifies.
const SLOWEST_BYTES_A_MS = 4_000;
const LONGEST_VERIFY_MS = 30 * 60_000;

// A device that answers one of these cannot serve for now.
const unwell: ReadonlySet<ProblemName> = new Set(['device-unavailable', 'shutting-down', 'internal']);

/** A client for all storage nodes. Failures of a node make its devices suspect in the ClusterState. */
export class NodeClient {
  readonly #state: KnownNodes;
  readonly #keyring: Keyring;
  readonly #batches = new Batches((device, batch) => this.#store(device, batch));
  readonly #agent = new Agent({
    connect: { timeout: CONNECT_MS },
    headersTimeout: ANSWER_MS,
    bodyTimeout: ANSWER_MS,
  });

  constructor(state: KnownNodes, keyring: Keyring) {
    this.#state = state;
    this.#keyring = keyring;
  }

  /** Stores a blob. Throws the node's Problem, or NodeUnreachable. */
  async put(device: DeviceState, order: PutOrder): Promise<BlobRef> {
    if (isSmall(order)) {
      return this.#batches.put(device, order).catch((error) => {
        throw this.#noted(device, error);
      });
    }
    const { fid, max, binding, body, sha256 } = order;
    const headers: Record<string, string> = {};
    if (sha256 !== undefined) headers['repr-digest'] = formatDigest(sha256);
    if (order.length !== undefined) headers['content-length'] = String(order.length);
    const ticket: PutTicket = { op: 'put', dev: device.id, fid, max, ...binding, exp: this.soon() };
    const answer = await this.request(device, 'PUT', ticket, order, {
      headers,
      body,
      headersTimeout: order.timeoutMs ?? ANSWER_MS,
    });
    return this.#receipt(device, fid, await this.#json(device, answer));
  }

  /** Sends small blobs to the device's host, for whichever of its devices each is. */
  async #store(
    device: DeviceState,
    { manifest, body, count, timeoutMs = ANSWER_MS, requestId }: Batch,
  ): Promise<BatchResult[]> {
    const sha256 = hash('sha256', manifest, 'hex');
    const ticket: Ticket = {
      op: 'put-many',
      size: body.length,
      manifest: manifest.length,
      sha256,
      exp: this.soon(),
    };
    const more = { body, headersTimeout: timeoutMs };
    const answer = await this.request(device, 'POST', ticket, { requestId }, more);
    const results = await this.#json(device, answer);
    if (Array.isArray(results) && results.length === count) return results;
    throw this.#unreachable(device, 'answered without a result for each blob');
  }

  /**
   * Opens the bytes of a blob, or of one range of it (`end` included). The body ends with an error if the node breaks
   * off; whoever reads it decides what that means.
   * @throws Problem replica-missing, replica-corrupt ...; NodeUnreachable
   */
  async get(
    device: DeviceState,
    options: BlobRef & Common & { range?: { start: number; end: number } | undefined },
  ): Promise<{ body: Readable }> {
    const { range } = options;
    const answer = await this.request(device, 'GET', this.#getTicket(device, options), options, {
      headers: range === undefined ? {} : { range: `bytes=${range.start}-${range.end}` },
    });
    const length = range === undefined ? options.size : range.end - range.start + 1;
    if (Number(answer.headers['content-length']) !== length) {
      answer.body.on('error', () => {}).destroy();
      throw this.#unreachable(device, `answered with another length than ${length}`);
    }
    return answer;
  }

  /** The whole of a small blob, in memory. Throws as `get` does; a body that is cut short is NodeUnreachable. */
  async read(device: DeviceState, options: BlobRef & Common): Promise<Uint8Array> {
    const { body } = await this.get(device, options);
    try {
      return await (body as Dispatcher.ResponseData['body']).bytes();
    } catch (error) {
      options.signal?.throwIfAborted();
      throw this.#unreachable(device, 'broke off its answer', error);
    }
  }

  /** Orders `device` to pull the blob from one of `sources` and to store it durably; answers with its receipt. */
  async copy(
    device: DeviceState,
    order: BlobRef & Common & { binding: Binding; sources: DeviceState[] },
  ): Promise<Receipt> {
    const { fid, size, sha256, binding, sources } = order;
    const ms = ANSWER_MS + size / SLOWEST_BYTES_A_MS;
    const exp = this.soon();
    const ticket: Ticket = { op: 'copy', dev: device.id, fid, size, sha256, ...binding, exp };
    // The last source may be asked only after all others have failed slowly.
    const urls = sources.map((source) =>
      this.ticketUrl(source, { ...this.#getTicket(source, order), exp: exp + ms }),
    );
    const answer = await this.request(device, 'POST', ticket, order, {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ sources: urls }),
      headersTimeout: ms,
    });
    return this.#receipt(device, fid, await this.#json(device, answer));
  }

  /**
   * Orders `device` to pull many small blobs, each from the source that it stands under, and to store them durably.
   * Answers with what became of each.
   */
  async copyMany(
    device: DeviceState,
    { sources, requestId, signal }: Common & { sources: { source: DeviceState; blobs: BoundBlob[] }[] },
  ): Promise<CopiedMany> {
    const bytes = sources.flatMap(({ blobs }) => blobs).reduce((sum, { size }) => sum + size, 0);
    const ms = ANSWER_MS + bytes / SLOWEST_BYTES_A_MS;
    const body = JSON.stringify({
      sources: sources.map(({ source, blobs }) => ({
        url: this.ticketUrl(source, {
          op: 'read-many',
          dev: source.id,
          blobs: blobs.map(({ fid, size }): [number, number] => [fid, size]),
          exp: this.soon(),
        }),
        blobs: blobs.map(({ fid, size, sha256, binding }) => {
          return { fid, size, sha256, domain: binding.domain, key: binding.key, class: binding.class };
        }),
      })),
    } satisfies CopyManyOrder);
    const ticket: Ticket = {
      op: 'copy-many',
      dev: device.id,
      order: hash('sha256', body),
      exp: this.soon(),
    };
    const answer = await this.request(
      device,
      'POST',
      ticket,
      { requestId, signal },
      {
        headers: { 'content-type': 'application/json' },
        body,
        headersTimeout: ms,
      },
    );
    return (await this.#json(device, answer)) as CopiedMany;
  }

  /** Orders an unlink. `expiresAt`: until when the node may carry it out, in ms by the database's clock. */
  async delete(
    device: DeviceState,
    order: { fid: number; expiresAt: number } & Common,
  ): Promise<'removed' | 'absent'> {
    const ticket: Ticket = { op: 'delete', dev: device.id, fid: order.fid, exp: order.expiresAt };
    try {
      const answer = await this.request(device, 'DELETE', ticket, order);
      await answer.body.dump();
      return 'removed';
    } catch (error) {
      if ((error as { problem?: ProblemName }).problem === 'replica-missing') return 'absent';
      throw error;
    }
  }

  /** Has the node read the blob from its disk again. `size`, if known, bounds how long that may take. */
  async verify(
    device: DeviceState,
    order: { fid: number; size?: number | undefined } & Common,
  ): Promise<Verified> {
    const ticket: Ticket = { op: 'verify', dev: device.id, fid: order.fid, exp: this.soon() };
    const ms = order.size === undefined ? LONGEST_VERIFY_MS : ANSWER_MS + order.size / SLOWEST_BYTES_A_MS;
    const answer = await this.request(device, 'POST', ticket, order, { headersTimeout: ms });
    return (await this.#json(device, answer)) as Verified;
  }

  /** One page of what the device holds, by fid. */
  async inventory(device: DeviceState, page: { after: number; limit: number } & Common): Promise<Inventory> {
    const ticket: Ticket = { op: 'inventory', dev: device.id, exp: this.soon() };
    const answer = await this.request(device, 'GET', ticket, page, {
      query: `&after=${page.after}&limit=${page.limit}`,
      headersTimeout: 60_000,
    });
    return (await this.#json(device, answer)) as Inventory;
  }

  /** Has the node try a disk that failed a write; it takes writes again if it is well. @throws Problem device-unavailable */
  async check(device: DeviceState): Promise<void> {
    const ticket: Ticket = { op: 'check', dev: device.id, exp: this.soon() };
    const answer = await this.request(device, 'POST', ticket, {}, { headersTimeout: 60_000 });
    await answer.body.dump();
  }

  /** The absolute URL at which this ticket is honoured: for redirects, direct uploads and copy orders. */
  ticketUrl(device: DeviceState, ticket: Ticket): string {
    return `${device.host.url.replace(/\/$/, '')}${pathFor(ticket)}?ticket=${this.#keyring.sign(ticket)}`;
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  /** When a ticket for a request of our own ends. */
  soon(): number {
    return this.#state.now() + OWN_TICKET_MS;
  }

  #getTicket(device: DeviceState, { fid, size, sha256 }: BlobRef): GetTicket {
    return { op: 'get', dev: device.id, fid, size, sha256, exp: this.soon() };
  }

  /** Sends one request; resolves with a good answer's head, throws for anything else. */
  async request(
    device: DeviceState,
    method: Dispatcher.HttpMethod,
    ticket: Ticket,
    { requestId, signal }: Common,
    more: {
      headers?: Record<string, string>;
      body?: Buffer | Readable | string;
      headersTimeout?: number;
      query?: string;
    } = {},
  ): Promise<Dispatcher.ResponseData> {
    const { headers = {}, body = null, headersTimeout = ANSWER_MS, query = '' } = more;
    if (requestId !== undefined) headers['x-request-id'] = requestId;
    let answer: Dispatcher.ResponseData;
    try {
      answer = await this.#agent.request({
        origin: device.host.url,
        path: `${pathFor(ticket)}?ticket=${this.#keyring.sign(ticket)}${query}`,
        method,
        headers,
        body,
        headersTimeout,
        signal: signal ?? null,
      });
    } catch (error) {
      signal?.throwIfAborted();
      throw this.#unreachable(device, 'did not answer', error);
    }
    if (answer.statusCode < 400) return answer;
    const problem = problemFrom(await answer.body.json().catch(() => undefined));
    if (problem === undefined) throw this.#unreachable(device, `answered ${answer.statusCode}`);
    throw this.#noted(device, problem);
  }

  /** `error`; its device becomes suspect if that is what it means. */
  #noted(device: DeviceState, error: unknown): unknown {
    if (error instanceof Problem && unwell.has(error.problem)) this.#state.suspect(device.id);
    return error;
  }

  async #json(device: DeviceState, answer: Dispatcher.ResponseData): Promise<unknown> {
    try {
      return await answer.body.json();
    } catch (error) {
      throw this.#unreachable(device, 'broke off its answer', error);
    }
  }

  #receipt(device: DeviceState, fid: number, answer: unknown): Receipt {
    const receipt = answer as Receipt;
    if (receipt.fid === fid && receipt.parts?.some((part) => part.dev === device.id)) return receipt;
    throw this.#unreachable(device, 'answered without a receipt for the blob');
  }

  /** All of the host's devices become suspect: it is the host that did not answer. */
  #unreachable(device: DeviceState, what: string, cause?: unknown): NodeUnreachable {
    for (const { id, host } of this.#state.devices()) {
      if (host.id === device.host.id) this.#state.suspect(id);
    }
    const { name } = device.host;
    return new NodeUnreachable(`storage node ${name} ${what} (device ${device.id})`, { cause });
  }
}

function pathFor(ticket: Ticket): string {
  switch (ticket.op) {
    case 'put-many':
      return '/put-many';
    case 'inventory':
      return `/devices/${ticket.dev}/blobs`;
    case 'read-many':
      return `/devices/${ticket.dev}/contents`;
    case 'copy-many':
      return `/devices/${ticket.dev}/copies`;
    case 'verify':
    case 'copy':
      return `/devices/${ticket.dev}/blobs/${ticket.fid}/${ticket.op}`;
    case 'journal':
    case 'check':
      return `/devices/${ticket.dev}/${ticket.op}`;
    case 'backup':
      return `/devices/${ticket.dev}/backups${ticket.name === undefined ? '' : `/${ticket.name}`}`;
    case 'devices':
      return '/devices';
    case 'node':
      throw new TypeError('a node ticket is for trackers');
    default:
      return `/devices/${ticket.dev}/blobs/${ticket.fid}`;
  }
}
