// The HTTP client of the command: speaks to any of several trackers, goes to the next one when one is away, and turns
// every error into a Problem (the tracker's answer) or a Failure (nobody answered).
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, type Dispatcher } from 'undici';
import { encodeKey, validateKey } from '../../services/keys.ts';
import { Problem, problemFrom } from '../../services/problems.ts';
import { EXIT, Failure } from './failure.ts';
import { ownTls } from './tls.ts';

export type Query = Record<string, string | number | boolean | undefined>;
export type Headers = Record<string, string>;

export interface ApiRequest {
  method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';
  /** Percent-encoded, without the query. */
  path: string;
  query?: Query;
  headers?: Headers;
  /** Sent as JSON. */
  json?: unknown;
  /** The body, made anew for each attempt. */
  body?: () => Dispatcher.DispatchOptions['body'];
  /**
   * True: repeating it does no harm, so it may be sent again when nothing is known of the first attempt.
   * Default: reading, and everything that carries an idempotency key.
   */
  repeatable?: boolean;
  /** False: the body can be read only once, so there is one attempt. */
  replayable?: boolean;
  /** Milliseconds to wait for trackers or database that are away; 0: say at once that they are. */
  patience?: number;
  /** Milliseconds within which one tracker must begin to answer; default: five minutes, for what is long work there. */
  answerWithin?: number;
}

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Dispatcher.ResponseData['body'];
}

/** After it has spoken to the cluster, a command waits this long for trackers or database to come back. */
const PATIENCE_MS = 15_000;
const PAUSE_MS = 500;

export class Api {
  readonly #urls: URL[];
  readonly #token: string | undefined;
  readonly #signal: AbortSignal | undefined;
  /** Sent along: a domain may be another environment's to write. */
  readonly #environment: string | undefined;
  readonly #agent = new Agent({
    connect: ownTls().connector(5_000),
    headersTimeout: 300_000,
    bodyTimeout: 120_000,
  });
  /** The tracker that answered last; it is asked first. */
  #current = 0;
  #met = false;

  constructor(urls: URL[], token?: string, signal?: AbortSignal, environment?: string) {
    this.#environment = environment;
    this.#urls = urls;
    this.#token = token;
    this.#signal = signal;
  }

  /** Sends a request and parses the JSON of its answer. */
  async json<T>(request: ApiRequest): Promise<T> {
    const answer = await this.request(request);
    const text = await answer.body.text();
    if (answer.status === 204) return undefined as T;
    try {
      return JSON.parse(text) as T;
    } catch {
      throw this.#notATracker(`answered ${answer.status} without JSON`);
    }
  }

  /** Sends a request whose answer says nothing but that it was done. */
  async send(request: ApiRequest): Promise<void> {
    const { body } = await this.request(request);
    await body.dump();
  }

  /**
   * Sends a request to the first tracker that answers it. The caller must read the body, or dump it.
   * @throws Problem what the tracker answered
   * @throws Failure (exit 2) no tracker could be reached
   */
  async request(request: ApiRequest): Promise<Answer> {
    const start = Date.now();
    for (;;) {
      const error = await this.#round(request);
      if ('status' in error && 'body' in error) return error;
      const worthWaiting = this.#met || error instanceof Problem;
      if (
        request.replayable === false ||
        !worthWaiting ||
        Date.now() - start >= (request.patience ?? PATIENCE_MS)
      ) {
        throw error instanceof Problem ? error : this.#unreachable(error);
      }
      await sleep(PAUSE_MS, undefined, { signal: this.#signal });
    }
  }

  /** Asks each tracker once. Returns the answer, or the error of the last one if waiting may help. */
  async #round(request: ApiRequest): Promise<Answer | Error> {
    let last: Error = new Error('no tracker is named');
    for (let i = 0; i < this.#urls.length; i++) {
      const index = (this.#current + i) % this.#urls.length;
      try {
        const answer = await this.#once(this.#urls[index] as URL, request);
        this.#current = index;
        this.#met = true;
        return answer;
      } catch (error) {
        if (!(error instanceof Error) || !this.#elsewhere(error, request)) throw this.#known(error);
        last = error;
      }
    }
    return last;
  }

  async #once(base: URL, request: ApiRequest): Promise<Answer> {
    const query = Object.entries(request.query ?? {})
      .filter(([, value]) => value !== undefined)
      .map(([name, value]): [string, string] => [name, String(value)]);
    const search = query.length === 0 ? '' : `?${new URLSearchParams(query)}`;
    const { statusCode, headers, body } = await this.#agent.request({
      origin: base.origin,
      // Not through `new URL`, which would resolve dot segments and so turn one key into another.
      path: base.pathname.replace(/\/$/, '') + request.path + search,
      method: request.method,
      headers: {
        ...(this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` }),
        ...(this.#environment === undefined ? {} : { 'cistern-environment': this.#environment }),
        ...(request.json === undefined ? {} : { 'content-type': 'application/json' }),
        ...request.headers,
      },
      body: request.json === undefined ? (request.body?.() ?? null) : JSON.stringify(request.json),
      ...(request.answerWithin !== undefined && { headersTimeout: request.answerWithin }),
      ...(this.#signal && { signal: this.#signal }),
    });
    if (statusCode < 300) return { status: statusCode, headers, body };
    throw await this.#refusal(statusCode, headers, body, request);
  }

  async #refusal(
    status: number,
    headers: Answer['headers'],
    body: Answer['body'],
    request: ApiRequest,
  ): Promise<Error> {
    const text = await body.text();
    if (request.method === 'HEAD' && status === 404) return new Problem('file-not-found');
    try {
      const problem = problemFrom(JSON.parse(text));
      if (problem !== undefined) return problem;
    } catch {
      // Not JSON: not from a tracker.
    }
    const where = headers.location === undefined ? '' : ` to '${headers.location}'`;
    return this.#notATracker(status < 400 ? `redirects${where}` : `answered ${status}`);
  }

  /** True if another tracker, or the same one later, may do better, and asking again does no harm. */
  #elsewhere(error: Error, { method, headers, repeatable, replayable }: ApiRequest): boolean {
    if (replayable === false || this.#signal?.aborted) return false;
    if (neverSent(error)) return true;
    const harmless =
      repeatable ?? (method === 'GET' || method === 'HEAD' || 'idempotency-key' in (headers ?? {}));
    if (error instanceof Problem) {
      // Both are said before anything was changed.
      return error.problem === 'database-unavailable' || error.problem === 'shutting-down' ? harmless : false;
    }
    return harmless && connectionLost(error);
  }

  #known(error: unknown): unknown {
    if (error instanceof Error && (neverSent(error) || connectionLost(error)) && !this.#signal?.aborted) {
      return this.#unreachable(error);
    }
    return error;
  }

  #unreachable(error: Error): Failure {
    const named = this.#urls.map((url) => url.href.replace(/\/$/, '')).join(', ');
    return new Failure(
      `cannot reach ${this.#urls.length > 1 ? 'any of ' : ''}${named} (${reasonOf(error)})`,
      {
        todo: "is it running there? 'cistern up' starts a cluster here, --url names another",
        exit: EXIT.couldNotLook,
        cause: error,
      },
    );
  }

  #notATracker(why: string): Failure {
    const url = this.#urls[this.#current] as URL;
    return new Failure(`${url.origin} ${why}`, {
      todo: 'is this the URL of a Cistern tracker?',
      exit: EXIT.couldNotLook,
    });
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }
}

/** Headers under which a write may be repeated safely when its answer was lost. */
export function idempotent(headers: Headers = {}): Headers {
  return { ...headers, 'idempotency-key': randomUUID() };
}

/** `/v1/domains/{domain}/files/{key}`, of a valid key. */
export function filePath(domain: string, key: string): string {
  return `${domainPath(domain)}/files/${encodeKey(validateKey(key))}`;
}

/** `/v1/domains/{domain}/directories/{path}`; '' and '/' are the root, one trailing slash is allowed. */
export function directoryPath(domain: string, path: string): string {
  const key = directoryKey(path);
  return `${domainPath(domain)}/directories/${key === '' ? '' : encodeKey(key)}`;
}

/** A directory as the tracker names it: '/' -> '', 'a/b/' -> 'a/b'. */
export function directoryKey(path: string): string {
  const key = path.endsWith('/') ? path.slice(0, -1) : path;
  return key === '' ? '' : validateKey(key);
}

export function domainPath(domain: string): string {
  return `/v1/domains/${encodeURIComponent(domain)}`;
}

const notConnected = new Set([
  'ECONNREFUSED',
  'EAI_AGAIN',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
]);
const lost = new Set([
  'ECONNRESET',
  'EPIPE',
  'UND_ERR_SOCKET',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
]);

/** True if the other side was never reached, so that nothing can have happened there. */
export function neverSent(error: Error): boolean {
  return notConnected.has((error as NodeJS.ErrnoException).code ?? '');
}

/** True if the connection broke, so that it is not known what happened there. */
export function connectionLost(error: Error): boolean {
  return lost.has((error as NodeJS.ErrnoException).code ?? '');
}

const reasons: Record<string, string> = {
  ECONNREFUSED: 'connection refused',
  ENOTFOUND: 'the host name is unknown',
  EAI_AGAIN: 'the host name cannot be looked up',
  ETIMEDOUT: 'timed out',
  UND_ERR_CONNECT_TIMEOUT: 'timed out',
  UND_ERR_HEADERS_TIMEOUT: 'no answer in time',
  UND_ERR_BODY_TIMEOUT: 'the answer stopped coming',
  UND_ERR_SOCKET: 'the connection broke',
  ECONNRESET: 'the connection broke',
  EPIPE: 'the connection broke',
};

function reasonOf(error: Error): string {
  const { code } = error as NodeJS.ErrnoException;
  return reasons[code ?? ''] ?? code ?? error.message;
}
