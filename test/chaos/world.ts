// What all actors of a chaos run share: the trackers as a client sees them, what is known of their lives, and the list
// of broken promises.
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { Agent, request } from 'undici';
import { encodeKey } from '../../services/keys.ts';
import type { Cluster, Part } from '../support/cluster.ts';
import { waitFor } from '../support/wait.ts';
import { killTracker } from './faults.ts';
import type { Network } from './network.ts';
import type { Random } from './random.ts';

/** A client waits so long for an answer; a cluster that is being killed at random must still give one. */
const ANSWER_MS = 60_000;

/** These say that the request was refused and nothing was changed. */
const UNCHANGED = new Set([
  'too-few-devices',
  'insufficient-storage',
  'device-unavailable',
  'no-good-replica',
  'shutting-down',
  'upload-void',
]);

export interface Answer {
  status: number;
  /** The problem's name, of an error. */
  problem?: string;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
}

export interface Asked {
  method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  path: string;
  headers?: Record<string, string>;
  body?: Buffer | string;
}

/**
 * What a client knows after a request: it was answered; it was refused and nothing was changed; it is not known whether
 * it was or will be carried out, until `settled` resolves: from then on, what can be seen is what there is.
 */
export type Outcome =
  | { kind: 'answered'; answer: Answer }
  | { kind: 'unchanged'; why: string }
  | { kind: 'lost'; why: string; settled: () => Promise<void> };

export const json = <T>(answer: Answer): T => JSON.parse(answer.body.toString()) as T;
export const fileUrl = (key: string) => `/v1/domains/demo/files/${encodeKey(key)}`;
export const directoryUrl = (key: string) => `/v1/domains/demo/directories/${encodeKey(key)}`;

export class World {
  readonly cluster: Cluster;
  readonly db: pg.Pool;
  /** Promises that were broken: a run must end without any. */
  readonly violations: string[] = [];
  readonly counts = new Map<string, number>();
  /** fid -> SHA-256, of every upload that was acknowledged. */
  readonly fids = new Map<number, string>();
  /** How often each tracker was killed and all that it had asked of the database was over. */
  readonly lives: number[];
  readonly #network: Network | undefined;
  readonly #busy = new Map<Part, Promise<unknown>>();
  readonly #agent = new Agent({ headersTimeout: ANSWER_MS, bodyTimeout: ANSWER_MS, connections: null });

  /** @param network that clients reach the trackers through */
  constructor(cluster: Cluster, db: pg.Pool, network?: Network) {
    this.#network = network;
    this.cluster = cluster;
    this.db = db;
    this.lives = cluster.trackers.map(() => 0);
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  /** Says on standard error what is done now: a long run should not look as if it stood still. */
  begins(what: string): void {
    process.stderr.write(`chaos: ${what} (${Math.round(process.uptime())} s)\n`);
  }

  violation(text: string): void {
    this.violations.push(text);
  }

  /** A fid belongs to one upload for ever (invariant 1). */
  acknowledged(fid: number, sha256: string): void {
    const former = this.fids.get(fid);
    if (former !== undefined && former !== sha256) this.violation(`fid ${fid} was given to two blobs`);
    this.fids.set(fid, sha256);
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  /** Kills or starts parts while nobody else does. */
  async alone(parts: readonly Part[], deed: () => Promise<void>): Promise<void> {
    const [first, ...others] = parts;
    if (first === undefined) return await deed();
    const turn = Promise.resolve(this.#busy.get(first)).then(() => this.alone(others, deed));
    this.#busy.set(
      first,
      turn.catch(() => {}),
    );
    await turn;
  }

  /** Asks one tracker after another until one can be connected to. */
  async ask(random: Random, asked: Asked): Promise<Outcome> {
    const { trackers, token } = this.cluster;
    const headers = { authorization: `Bearer ${token}`, ...asked.headers };
    for (let index = random.between(0, trackers.length - 1); ; index = (index + 1) % trackers.length) {
      const life = this.lives[index] as number;
      const tracker = trackers[index] as Part;
      const url = `${this.#network?.url(tracker.name) ?? tracker.url}${asked.path}`;
      const answer = await this.send(url, { ...asked, headers });
      if (answer === 'unsent') await sleep(50);
      else if (answer instanceof Error) {
        // It was killed, or the network failed: then it is killed now, and ends what it may still be at.
        const settled = async () => {
          if (this.lives[index] === life) await killTracker(this, tracker);
        };
        return this.#lost(answer.message, () => this.alone([tracker], settled));
      } else return this.#judge(asked, answer);
    }
  }

  /** One request, never repeated. An Error: it may or may not have been carried out. */
  async send(url: string, { method, headers = {}, body = '' }: Asked): Promise<Answer | Error | 'unsent'> {
    try {
      const reply = await request(url, {
        method,
        headers,
        dispatcher: this.#agent,
        body: method === 'GET' ? null : body,
      });
      const bytes = Buffer.from(await reply.body.arrayBuffer());
      const type = String(reply.headers['content-type']);
      const name = type.includes('problem+json') ? String(JSON.parse(bytes.toString()).type) : '';
      const problem = name === '' ? {} : { problem: name.split(':').at(-1) as string };
      return { status: reply.statusCode, ...problem, headers: reply.headers, body: bytes };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      return code === 'ECONNREFUSED' ? 'unsent' : (error as Error);
    }
  }

  #judge(asked: Asked, answer: Answer): Outcome {
    const { status, problem } = answer;
    if (problem !== undefined && UNCHANGED.has(problem)) return { kind: 'unchanged', why: problem };
    if (problem === 'database-unavailable') {
      return this.#lost(problem, () => this.#statementsEnded());
    }
    if (status >= 500) {
      this.violation(`${asked.method} ${asked.path} was answered ${status}: ${answer.body}`);
    }
    return { kind: 'answered', answer };
  }

  #lost(why: string, settled: () => Promise<unknown>): Outcome {
    return { kind: 'lost', why, settled: async () => void (await settled()) };
  }

  /** Waits until the database is there and has ended all that it was doing when this was called. */
  async #statementsEnded(): Promise<void> {
    const { rows } = await waitFor(() => this.db.query('SELECT clock_timestamp()::text AS now'), {
      what: 'the database to be there',
      timeout: 30_000,
    });
    await waitFor(
      async () => {
        const busy = await this.db.query(
          `SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND state <> 'idle' AND coalesce(xact_start, query_start) < $1::timestamptz`,
          [rows[0].now],
        );
        return busy.rowCount === 0;
      },
      { what: 'the database to end what it was doing', timeout: 30_000 },
    );
  }
}
