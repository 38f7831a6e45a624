// What the tracker asks storage nodes to do with blobs. How a request is made and may fail: node-requests.ts.
import { hash } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import { formatDigest } from '../../services/digests.ts';
import type { ProblemName } from '../../services/problems.ts';
import type { BatchResult, CopiedMany, CopyManyOrder, Inventory, Verified } from '../../services/protocol.ts';
import type { Binding, GetTicket, PutTicket, Receipt, Ticket } from '../../services/tickets.ts';
import type { DeviceState } from '../cluster/state.ts';
import { type Batch, Batches, isSmall } from './batches.ts';
import { ANSWER_MS, type Common, NodeRequests } from './node-requests.ts';

export { type KnownNodes, NodeUnreachable } from './node-requests.ts';

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

// The least that a node is expected to read and write a second when it copies or verifies.
const SLOWEST_BYTES_A_MS = 4_000;
const LONGEST_VERIFY_MS = 30 * 60_000;

/** A client for all storage nodes. Failures of a node make its devices suspect in the ClusterState. */
export class NodeClient extends NodeRequests {
  readonly #batches = new Batches((device, batch) => this.#store(device, batch));

  /** Stores a blob. Throws the node's Problem, or NodeUnreachable. */
  async put(device: DeviceState, order: PutOrder): Promise<BlobRef> {
    if (isSmall(order)) {
      return this.#batches.put(device, order).catch((error) => {
        throw this.noted(device, error);
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
    return this.#receipt(device, fid, await this.json(device, answer));
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
    const results = await this.json(device, answer);
    if (Array.isArray(results) && results.length === count) return results;
    throw this.unreachable(device, 'answered without a result for each blob');
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
      throw this.unreachable(device, `answered with another length than ${length}`);
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
      throw this.unreachable(device, 'broke off its answer', error);
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
    return this.#receipt(device, fid, await this.json(device, answer));
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
    return (await this.json(device, answer)) as CopiedMany;
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
    return (await this.json(device, answer)) as Verified;
  }

  /** One page of what the device holds, by fid. */
  async inventory(device: DeviceState, page: { after: number; limit: number } & Common): Promise<Inventory> {
    const ticket: Ticket = { op: 'inventory', dev: device.id, exp: this.soon() };
    const answer = await this.request(device, 'GET', ticket, page, {
      query: `&after=${page.after}&limit=${page.limit}`,
      headersTimeout: 60_000,
    });
    return (await this.json(device, answer)) as Inventory;
  }

  /** Has the node try a disk that failed a write; it takes writes again if it is well. @throws Problem device-unavailable */
  async check(device: DeviceState): Promise<void> {
    const ticket: Ticket = { op: 'check', dev: device.id, exp: this.soon() };
    const answer = await this.request(device, 'POST', ticket, {}, { headersTimeout: 60_000 });
    await answer.body.dump();
  }

  #getTicket(device: DeviceState, { fid, size, sha256 }: BlobRef): GetTicket {
    return { op: 'get', dev: device.id, fid, size, sha256, exp: this.soon() };
  }

  #receipt(device: DeviceState, fid: number, answer: unknown): Receipt {
    const receipt = answer as Receipt;
    if (receipt.fid === fid && receipt.parts?.some((part) => part.dev === device.id)) return receipt;
    throw this.unreachable(device, 'answered without a receipt for the blob');
  }
}
