// Requests from the tracker to storage nodes: signs the ticket, keeps connections alive, and tells apart what a node
// answered (a Problem) from a node that did not answer as it should (NodeUnreachable).
import type { Readable } from 'node:stream';
import { Agent, type Dispatcher } from 'undici';
import { Problem, type ProblemName, problemFrom } from '../../services/problems.ts';
import type { Keyring, Ticket } from '../../services/tickets.ts';
import { Tls } from '../../services/tls.ts';
import type { ClusterState, DeviceState } from '../cluster/state.ts';

/** The node could not be reached, did not answer in time, or did not answer as a storage node does. */
export class NodeUnreachable extends Error {
  override name = 'NodeUnreachable';
}

/** What requests to nodes ask of, and tell, the ClusterState. */
export type KnownNodes = Pick<ClusterState, 'now' | 'devices' | 'suspect'>;

export interface Common {
  /** Follows the client's request through the nodes' logs. */
  requestId?: string | undefined;
  /** Gives the request up; the promise is then rejected with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** Tickets of the tracker's own requests are used at once. */
const OWN_TICKET_MS = 60_000;
const CONNECT_MS = 3_000;
export const ANSWER_MS = 10_000;

// A device that answers one of these cannot serve for now.
const unwell: ReadonlySet<ProblemName> = new Set(['device-unavailable', 'shutting-down', 'internal']);

/** Makes requests to all storage nodes. Failures of a node make its devices suspect in the ClusterState. */
export class NodeRequests {
  readonly #state: KnownNodes;
  readonly #keyring: Keyring;
  readonly #agent: Agent;

  /** @param tls says which authorities a node's certificate may be of */
  constructor(state: KnownNodes, keyring: Keyring, tls = new Tls({})) {
    this.#state = state;
    this.#keyring = keyring;
    this.#agent = new Agent({
      connect: tls.connector(CONNECT_MS),
      headersTimeout: ANSWER_MS,
      bodyTimeout: ANSWER_MS,
    });
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
      throw this.unreachable(device, 'did not answer', error);
    }
    if (answer.statusCode < 400) return answer;
    const problem = problemFrom(await answer.body.json().catch(() => undefined));
    if (problem === undefined) throw this.unreachable(device, `answered ${answer.statusCode}`);
    throw this.noted(device, problem);
  }

  /** `error`; its device becomes suspect if that is what it means. */
  protected noted(device: DeviceState, error: unknown): unknown {
    if (error instanceof Problem && unwell.has(error.problem)) this.#state.suspect(device.id);
    return error;
  }

  protected async json(device: DeviceState, answer: Dispatcher.ResponseData): Promise<unknown> {
    try {
      return await answer.body.json();
    } catch (error) {
      throw this.unreachable(device, 'broke off its answer', error);
    }
  }

  /** All of the host's devices become suspect: it is the host that did not answer. */
  protected unreachable(device: DeviceState, what: string, cause?: unknown): NodeUnreachable {
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
