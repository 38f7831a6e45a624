// The node's place in the cluster: it registers with a tracker, sends heartbeats, and looks at its devices before each.
import type { Static, TSchema } from 'typebox';
import { request } from 'undici';
import { delay } from '../services/lifecycle.ts';
import { problemFrom } from '../services/problems.ts';
import {
  BlobAnswer,
  type Heartbeat,
  HeartbeatAnswer,
  type KnownBlob,
  Registered,
  type Registration,
} from '../services/protocol.ts';
import { matches } from '../services/schemas.ts';
import type { NodeContext } from './context.ts';
import type { Device } from './device.ts';
import { reason } from './inspection.ts';

const TICKET_MS = 600_000;
const ANSWER_MS = 5_000;
/** A node whose clock is off by more takes no writes: tickets expire by it. */
const CLOCK_TOLERANCE_MS = 5_000;
/** Devices that were refused are offered again this often, since an operator may have mended what was wrong. */
const OFFER_AGAIN_MS = 5_000;
/** Until the first registration, trackers are tried again this soon. */
const EAGER_MS = 250;

export class Membership {
  /** The cluster's id, from the first registration on. */
  cluster: string | undefined;
  registered = false;
  readonly #node: NodeContext;
  readonly #url: string;
  readonly #ended = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #tracker = 0;
  #offeredAt = 0;
  #trouble: string | undefined;

  /** @param url where this node is reached */
  constructor(node: NodeContext, url: string) {
    this.#node = node;
    this.#url = url;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#ended.abort();
    await this.#running;
  }

  /** What the cluster knows of these blobs. Fails if no tracker answers. */
  async describe(fids: number[]): Promise<KnownBlob[]> {
    const question = { host: this.#node.config.CISTERN_HOST, fids };
    return (await this.#post('/v1/cluster/blobs', question, BlobAnswer)).blobs;
  }

  async #run(): Promise<void> {
    const { signal } = this.#ended;
    const interval = this.#node.config.CISTERN_HEARTBEAT_SECONDS * 1000;
    while (!signal.aborted) {
      await Promise.all(this.#devices.map((device) => device.look()));
      await this.#tellATracker();
      await delay(this.registered ? interval : Math.min(interval, EAGER_MS), signal);
    }
  }

  /** Asks the trackers in turn, beginning with the one that answered last. */
  async #tellATracker(): Promise<void> {
    const { trackers } = this.#node.config;
    for (let tries = 0; tries < trackers.length && !this.#ended.signal.aborted; tries++) {
      try {
        if (this.#mustRegister()) await this.#register();
        else await this.#beat();
        this.#note(undefined);
        return;
      } catch (error) {
        if (this.#ended.signal.aborted) return;
        this.#note(`${trackers[this.#tracker]}: ${reason(error)}`);
        this.#tracker = (this.#tracker + 1) % trackers.length;
      }
    }
  }

  #mustRegister(): boolean {
    if (!this.registered || this.#devices.some((device) => device.needsRegistration)) return true;
    return this.#devices.some((device) => device.refused) && Date.now() - this.#offeredAt > OFFER_AGAIN_MS;
  }

  async #register(): Promise<void> {
    // New disks are formatted and offered once more; a second 'format' would be a fault, and ends as a refusal.
    if (await this.#offer(true)) await this.#offer(false);
    if (!this.registered) this.#node.log.info({ cluster: this.cluster }, 'registered');
    this.registered = true;
    this.#offeredAt = Date.now();
  }

  /** Registers what there is; true if devices were formatted and must be offered again. */
  async #offer(mayFormat: boolean): Promise<boolean> {
    const { config, session } = this.#node;
    const reports = this.#devices.map((device) => device.report());
    const registration: Registration = {
      host: config.CISTERN_HOST,
      url: this.#url,
      ...(config.CISTERN_ZONE === undefined ? {} : { zone: config.CISTERN_ZONE }),
      session,
      devices: reports,
    };
    const answer = await this.#post('/v1/cluster/register', registration, Registered);
    const newCluster = this.cluster !== answer.cluster;
    this.cluster = answer.cluster;
    if (newCluster) await Promise.all(this.#devices.map((device) => device.look()));
    let formatted = false;
    for (const report of reports) {
      const device = this.#node.devices.get(report.id);
      const verdict = answer.devices.find(({ id }) => id === report.id);
      if (device === undefined || verdict === undefined) continue;
      if (verdict.verdict !== 'format') device.judged(report, verdict);
      else if (mayFormat) formatted = (await this.#format(device, answer.cluster)) || formatted;
      else
        device.judged(report, { ...verdict, verdict: 'refused', why: 'it stays unknown after formatting' });
    }
    return formatted;
  }

  async #format(device: Device, cluster: string): Promise<boolean> {
    try {
      await device.format(cluster);
      this.#node.log.info({ device: device.id, path: device.path, uuid: device.uuid }, 'formatted a device');
      return true;
    } catch (error) {
      const why = `it cannot be formatted: ${reason(error)}`;
      device.judged(device.report(), { id: device.id, verdict: 'refused', why });
      return false;
    }
  }

  async #beat(): Promise<void> {
    const { config, session, findings } = this.#node;
    const batch = findings.batch();
    const clock = Date.now();
    const heartbeat: Heartbeat = {
      host: config.CISTERN_HOST,
      session,
      clock,
      devices: this.#devices.map((device) => device.report()),
      findings: batch,
    };
    const answer = await this.#post('/v1/cluster/heartbeat', heartbeat, HeartbeatAnswer);
    this.#compareClocks(clock, answer.clock);
    if (answer.register) {
      this.registered = false;
      await this.#register();
      return;
    }
    findings.told(batch);
  }

  /** The tracker read its clock between `sent` and now; only what that cannot explain counts as an error. */
  #compareClocks(sent: number, theirs: number): void {
    const now = Date.now();
    const off = theirs < sent ? sent - theirs : Math.max(0, theirs - now);
    const why = `the clock of this host is off by ${Math.round(off / 1000)} s`;
    for (const device of this.#devices) device.clockIs(off > CLOCK_TOLERANCE_MS ? why : undefined);
  }

  async #post<T extends TSchema>(path: string, body: object, schema: T): Promise<Static<T>> {
    const { config, keyring, agent } = this.#node;
    const ticket = keyring.sign({ op: 'node', host: config.CISTERN_HOST, exp: Date.now() + TICKET_MS });
    const answer = await request(`${config.trackers[this.#tracker]}${path}`, {
      method: 'POST',
      dispatcher: agent,
      headers: { authorization: `Bearer ${ticket}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.any([this.#ended.signal, AbortSignal.timeout(ANSWER_MS)]),
    });
    const content: unknown = await answer.body.json();
    if (answer.statusCode !== 200) {
      throw new Error(`it answered ${answer.statusCode}: ${problemFrom(content)?.message ?? 'no reason'}`);
    }
    if (!matches(schema, content)) throw new Error('its answer is malformed');
    return content;
  }

  /** Logs when the trackers go and when one is back, once each. */
  #note(trouble: string | undefined): void {
    if (trouble !== undefined && this.#trouble === undefined) {
      this.#node.log.warn({ why: trouble }, 'no answer from a tracker; trying on');
    }
    if (trouble === undefined && this.#trouble !== undefined) {
      this.#node.log.info({ tracker: this.#node.config.trackers[this.#tracker] }, 'a tracker answers again');
    }
    this.#trouble = trouble;
  }

  get #devices(): Device[] {
    return [...this.#node.devices.values()];
  }
}
