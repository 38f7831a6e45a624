// Keeps every blob on as many hosts as its classes want, and takes away what no name needs: the loops of one tracker.
// All trackers run all of them; what must not be done twice at once is claimed in the database.
import pLimit from 'p-limit';
import { Gauge } from 'prom-client';
import { failPoint } from '../../services/fail-points.ts';
import type { HttpMetrics } from '../../services/metrics.ts';
import { MANY_BLOBS } from '../../services/protocol.ts';
import type { TrackerConfig } from '../config.ts';
import { purgeDetached } from '../namespace/purge.ts';
import { emptyTrash, forgetAnswers, forgetHistory } from './expiry.ts';
import { type FindingKind, reportBad } from './findings.ts';
import { Loop } from './loop.ts';
import { createMeters } from './meters.ts';
import { type Parts, reachOf, readableDevices } from './parts.ts';
import { claimRepairs, hurryRepairs } from './queue.ts';
import { forgetTombstones, reap } from './reaper.ts';
import { Rebalancer } from './rebalance.ts';
import { reclassSome } from './reclass.ts';
import { removeReplicas } from './remover.ts';
import { repairMany } from './repair-many.ts';
import { reviveDevices } from './revive.ts';
import { claimFullScan, type ScanAnswer, type ScanOrder, scan } from './scan.ts';
import type { Selection } from './selection.ts';
import { oldestRepair, queueLevels } from './summary.ts';
import { claimSweep, sweepDevice } from './sweep.ts';
import { Throttle } from './throttle.ts';
import { type Verification, verifyReplicas } from './verify.ts';
import { Walks } from './walks.ts';
import { Watch } from './watch.ts';

export interface ReplicationOptions extends Omit<Parts, 'meters' | 'throttle' | 'watch'> {
  config: TrackerConfig;
  metrics: HttpMetrics;
  /** How long an order to unlink is valid. */
  deleteTicketSeconds?: number;
}

const SCAN_BATCH = 5_000;
const PURGE_BATCH = 1_000;
const WALK_SECONDS = 2;
const REBALANCE_SECONDS = 5;
const CHECKS_AT_ONCE = 4;
const STOP_MS = 10_000;
/** A batch of repairs ends with the blob that reaches this. */
const BATCH_BYTES = 8 * 1024 * 1024;

export class Replication {
  readonly #parts: Parts;
  readonly #deleteTicketSeconds: number;
  readonly #loops: Loop[];
  readonly #repairs: Loop;
  readonly #walking: Loop;
  readonly #removals: Loop;
  readonly #active = new Set<Promise<void>>();
  readonly #checks = new Map<string, Promise<void>>();
  readonly #check = pLimit(CHECKS_AT_ONCE);
  readonly #watch: Watch;
  readonly #walks: Walks;
  #ableDevices = new Set<number>();

  constructor({ metrics, deleteTicketSeconds = 30, ...parts }: ReplicationOptions) {
    const { config, log } = parts;
    this.#watch = new Watch(parts.state, {
      healSeconds: config.CISTERN_HEAL_AFTER_SECONDS,
      // A few looks may be late on a busy machine, but not for so long that heartbeats could be missed.
      gapSeconds: config.CISTERN_DOWN_SECONDS + 2 * WALK_SECONDS,
    });
    this.#parts = {
      ...parts,
      meters: createMeters(metrics.registry),
      throttle: new Throttle(config.CISTERN_REPAIR_BYTES_PER_SECOND),
      watch: this.#watch,
    };
    this.#walks = new Walks(this.#parts);
    const rebalancer = new Rebalancer(this.#parts, config);
    this.#deleteTicketSeconds = deleteTicketSeconds;
    this.#measureQueue(metrics);
    const loop = (name: string, pause: number, work: (signal: AbortSignal) => Promise<boolean>) =>
      new Loop({ name, log, pause, work });
    const sweepPause = Math.min(Math.max(config.CISTERN_SWEEP_EVERY_SECONDS / 4, 0.1), 30);
    this.#repairs = loop('repair', 1, (signal) => this.#repairSome(signal));
    this.#walking = loop('walk of devices', WALK_SECONDS, () => this.#walk());
    this.#removals = loop('remover', 1, (signal) => this.#remove(signal));
    this.#loops = [
      this.#repairs,
      this.#walking,
      this.#removals,
      loop('revival', WALK_SECONDS, async (signal) => {
        await reviveDevices(this.#parts, signal);
        return false;
      }),
      loop('rebalance', REBALANCE_SECONDS, (signal) => rebalancer.step(signal)),
      loop('reaper', 2, () => this.#reap()),
      loop('reclass', 2, () => reclassSome(parts.db)),
      loop('purge', 2, async () => (await purgeDetached(parts.db, PURGE_BATCH)) > 0),
      loop('expiry', 60, () => this.#expire()),
      loop('sweep', sweepPause, (signal) => this.#sweep(signal)),
      loop('scan', sweepPause, (signal) => this.#scanAll(signal)),
    ];
  }

  start(): void {
    for (const loop of this.#loops) loop.start();
  }

  /** Ends the loops. Copies under way are given up (another tracker or start goes on); waits for that, but not for ever. */
  async stop(): Promise<void> {
    const ended = Promise.all(this.#loops.map((loop) => loop.stop())).then(() =>
      Promise.allSettled([...this.#active, ...this.#checks.values()]),
    );
    let timer: NodeJS.Timeout | undefined;
    const bound = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, STOP_MS);
    });
    await Promise.race([ended, bound]);
    clearTimeout(timer);
  }

  /** Down for so long that their replicas are made elsewhere, as far as this tracker has seen. */
  get missed(): ReadonlySet<number> {
    return this.#watch.missed;
  }

  /** Something was queued, un-named, or a device's state changed just now: look at once instead of in a second. */
  wake(): void {
    for (const loop of [this.#repairs, this.#walking, this.#removals]) loop.wake();
  }

  /**
   * Somebody found that a device's replica of a blob is bad. Its node verifies it; if that is so, it counts no longer
   * and a repair is queued. Resolves when it is decided, which takes as long as reading the replica.
   */
  reportBad(fid: number, deviceId: number, kind: FindingKind): Promise<void> {
    const id = `${fid}/${deviceId}`;
    const known = this.#checks.get(id);
    if (known !== undefined) return known;
    const check = this.#check(async () => {
      if (await reportBad(this.#parts, fid, deviceId, kind)) this.wake();
    }).finally(() => this.#checks.delete(id));
    this.#checks.set(id, check);
    return check;
  }

  /** Looks at some blobs, and queues what is not as it should be. */
  async scan(order: ScanOrder): Promise<ScanAnswer> {
    const { db, state } = this.#parts;
    const answer = await scan(db, { ...order, ...reachOf(state) });
    if (answer.queued > 0) this.#repairs.wake();
    return answer;
  }

  /** Has the nodes read selected replicas again, and queues what is bad (verify.ts). */
  async verify(after: number, selection: Selection, onlyLook: boolean): Promise<Verification> {
    const answer = await verifyReplicas(this.#parts, after, selection, onlyLook);
    if (answer.bad.length > 0) this.#repairs.wake();
    return answer;
  }

  async #repairSome(signal: AbortSignal): Promise<boolean> {
    const { config, db, log, throttle } = this.#parts;
    while (this.#active.size < config.CISTERN_REPAIR_WORKERS && !signal.aborted) {
      await throttle.refresh(db);
      // The loop comes by again within a second.
      if (throttle.wait() > 0) break;
      const claims = await claimRepairs(db, MANY_BLOBS, Math.min(BATCH_BYTES, throttle.rate || BATCH_BYTES));
      if (claims.length === 0) break;
      const work: Promise<void> = repairMany(this.#parts, claims, signal)
        .catch((err) => log.warn({ err }, 'repairs were broken off; their leases will run out'))
        .finally(() => {
          this.#noticeAway();
          this.#active.delete(work);
          this.#repairs.wake();
        });
      this.#active.add(work);
    }
    return false;
  }

  async #walk(): Promise<boolean> {
    this.#walks.returned(this.#watch.look());
    await this.#hurryIfDevicesCame();
    const { queued, more } = await this.#walks.step();
    if (queued > 0) this.#repairs.wake();
    return more;
  }

  /** A device can be read or written that could not be before: what waited for one is tried again now. */
  async #hurryIfDevicesCame(): Promise<void> {
    const { db, state } = this.#parts;
    const able = state.devices().filter((device) => device.readable);
    const came = able.some(({ id }) => !this.#ableDevices.has(id));
    this.#ableDevices = new Set(able.map(({ id }) => id));
    if (came && (await hurryRepairs(db)) > 0) this.#repairs.wake();
  }

  /** A device that was away when a repair ended counts as one that came, also if it is back before the next look. */
  #noticeAway(): void {
    for (const id of this.#ableDevices) {
      if (!this.#parts.state.device(id)?.readable) this.#ableDevices.delete(id);
    }
  }

  async #reap(): Promise<boolean> {
    const { db, config, log } = this.#parts;
    const { gone, more } = await reap(db, config.CISTERN_REAP_AFTER_SECONDS);
    if (gone > 0) {
      failPoint('reaper-done');
      log.info({ gone }, 'reaped blobs that lost their last name');
      this.#removals.wake();
    }
    return more;
  }

  #remove(signal: AbortSignal): Promise<boolean> {
    return removeReplicas(this.#parts, this.#deleteTicketSeconds, signal);
  }

  async #expire(): Promise<boolean> {
    const { db } = this.#parts;
    const more = [
      await emptyTrash(db),
      await forgetHistory(db),
      await forgetAnswers(db),
      await forgetTombstones(db),
    ];
    return more.includes(true);
  }

  async #sweep(signal: AbortSignal): Promise<boolean> {
    const { db, state, config } = this.#parts;
    const id = await claimSweep(db, readableDevices(state), config.CISTERN_SWEEP_EVERY_SECONDS);
    const device = id === undefined ? undefined : state.device(id);
    if (device === undefined) return false;
    await sweepDevice(this.#parts, device, signal);
    this.#removals.wake();
    return true;
  }

  async #scanAll(signal: AbortSignal): Promise<boolean> {
    if (!(await claimFullScan(this.#parts.db, this.#parts.config.CISTERN_SWEEP_EVERY_SECONDS))) return false;
    let after: number | undefined = 0;
    while (after !== undefined && !signal.aborted) {
      const answer: ScanAnswer = await this.scan({ after, limit: SCAN_BATCH });
      after = answer.next;
    }
    return false;
  }

  #measureQueue({ registry }: HttpMetrics): void {
    const { db } = this.#parts;
    new Gauge({
      name: 'cistern_repair_queue',
      help: 'Blobs that wait for repair, by how many hosts hold a good copy',
      labelNames: ['copies'],
      registers: [registry],
      async collect() {
        // Without the database there is nothing to say; the other metrics are still wanted.
        const levels = await queueLevels(db).catch(() => []);
        this.reset();
        for (const { copies, blobs } of levels) this.set({ copies }, blobs);
      },
    });
    new Gauge({
      name: 'cistern_repair_oldest_seconds',
      help: 'How long the oldest entry of the repair queue has been there; 0: there is none',
      registers: [registry],
      async collect() {
        const oldest = await oldestRepair(db).catch(() => undefined);
        if (oldest === undefined) this.reset();
        else this.set(oldest === null ? 0 : (Date.now() - oldest.getTime()) / 1000);
      },
    });
  }
}
