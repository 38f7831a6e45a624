// One device of this node: its disk's identity and health, its space, and its blobs. Everything that touches the disk
// goes through `attempt`, which turns the system's errors into answers, and a failing disk into its condition.
import type { Logger } from '../services/logging.ts';
import { Problem } from '../services/problems.ts';
import type { DeviceReport, Registered } from '../services/protocol.ts';
import { BlobCount } from './blob-count.ts';
import type { BlobStore, Content } from './blob-store.ts';
import { ConditionLog } from './condition-log.ts';
import { DirectorySync } from './directory-sync.ts';
import { classify } from './disk-errors.ts';
import type { Findings } from './findings.ts';
import type { Ground } from './ground.ts';
import { inspect, reason, type State } from './inspection.ts';
import { Journal } from './journal.ts';
import { LayeredStore, type VolumeSettings } from './layered-store.ts';
import { isBlank, writeMarker } from './marker.ts';
import { Quarantine } from './quarantine.ts';
import type { Scrub } from './scrub.ts';
import { testDisk } from './self-test.ts';
import { Space } from './space.ts';

/** What the disk was asked: one blob's bytes, to keep or remove some, or which blobs there are. */
type DiskUse = 'read' | 'write' | 'list';
type Verdict = Registered['devices'][number];

export interface DeviceOptions {
  id: number;
  path: string;
  reserve: number;
  volumes: VolumeSettings;
  log: Logger;
  findings: Findings;
  /** The cluster's id, once a tracker has told it. */
  cluster(): string | undefined;
  /** Called when the device goes out of service. */
  onOut(device: Device): void;
  /** Called when a blob is not served any more because its replica is bad. */
  onGone(fid: number): void;
}

export class Device {
  readonly id: number;
  readonly path: string;
  readonly store: BlobStore;
  readonly ground: Ground;
  readonly journal: Journal;
  readonly quarantine: Quarantine;
  readonly space: Space;
  /** Looks after the blobs, once the node runs. */
  scrub: Scrub | undefined;
  /** Requests that use the disk now. */
  active = 0;
  /** Read and write errors since the start. */
  errors = 0;
  uuid: string | null = null;
  readonly #options: DeviceOptions;
  readonly #count: BlobCount;
  readonly #conditions: ConditionLog;
  #look: State = { condition: 'out', why: 'not looked at yet' };
  #looking: Promise<void> | undefined;
  #filesystem: number | undefined;
  #opened = '';
  #failure: string | undefined;
  #clock: string | undefined;
  #registered: { uuid: string | null; out: boolean; verdict: Verdict } | undefined;

  constructor(options: DeviceOptions) {
    this.#options = options;
    this.id = options.id;
    this.path = options.path;
    this.#conditions = new ConditionLog(options.log, { device: options.id, path: options.path });
    const directories = new DirectorySync(options.path);
    const [filesystem, uuid] = [() => this.#filesystem, () => this.uuid];
    this.ground = { root: options.path, directories, filesystem, uuid };
    const onFailure = (error: unknown) => void this.explain('write', 0, error);
    this.journal = new Journal(this.ground, onFailure, (leaf) => this.store.fids(leaf));
    const { ground, journal } = this;
    this.store = new LayeredStore({ ground, journal, onFailure, ...options.volumes });
    this.quarantine = new Quarantine(this.ground, this.store);
    this.#count = new BlobCount(this.store, options.log);
    this.space = new Space(options.path, options.reserve);
  }

  get state(): State {
    if (this.#look.condition === 'out') return this.#look;
    const verdict = this.#registered?.verdict;
    if (verdict?.verdict === 'refused' && this.#registered?.uuid === this.uuid) {
      return { condition: 'out', why: `the tracker refuses it: ${verdict.why ?? 'no reason given'}` };
    }
    if (this.#failure !== undefined) return { condition: 'readonly', why: this.#failure };
    if (this.#look.condition === 'readonly') return this.#look;
    if (this.#clock !== undefined) return { condition: 'readonly', why: this.#clock };
    return { condition: 'ok' };
  }

  /** @throws Problem device-unavailable unless blobs may be read */
  assertReadable(): void {
    const { condition, why } = this.state;
    if (condition === 'out' || this.uuid === null) this.#refuse(why ?? 'it has not been formatted yet');
  }

  /** @throws Problem device-unavailable unless blobs may be written and removed */
  assertWritable(): void {
    const { condition, why } = this.state;
    if (condition !== 'ok') this.#refuse(why ?? `it is ${condition}`);
    if (!this.accepted) this.#refuse('this node has not been registered with a tracker yet');
  }

  /** True if the cluster has taken the disk that is there now into service. */
  get accepted(): boolean {
    const registered = this.#registered;
    return registered?.verdict.verdict === 'accepted' && this.uuid !== null && registered.uuid === this.uuid;
  }

  /** True if the tracker has not judged the disk as it is now. */
  get needsRegistration(): boolean {
    const registered = this.#registered;
    if (registered === undefined || registered.uuid !== this.uuid) return true;
    return registered.out && this.#look.condition !== 'out';
  }

  get refused(): boolean {
    return this.#registered?.verdict.verdict === 'refused';
  }

  report(): DeviceReport {
    const { condition, why } = this.state;
    return {
      id: this.id,
      uuid: this.uuid,
      condition,
      ...(why === undefined ? {} : { why }),
      total: this.space.total,
      free: Math.max(0, this.space.free),
      highestFid: this.#count.highest,
      blobs: this.#count.blobs,
      errors: this.errors,
      sequence: this.journal.sequence.value,
      quarantined: this.quarantine.count,
      ...(this.scrub === undefined ? {} : { scrub: this.scrub.report }),
    };
  }

  /** Looks at the disk again: is it there, is it the right one, may it be written, how much is free? */
  look(): Promise<void> {
    this.#looking ??= this.#lookNow().finally(() => {
      this.#looking = undefined;
      this.#noticeChange();
    });
    return this.#looking;
  }

  async #lookNow(): Promise<void> {
    try {
      const { state, disk } = await inspect(this.path, this.id, this.#options.cluster(), this.uuid);
      if (disk !== undefined) {
        this.uuid = disk.uuid;
        this.#filesystem = disk.filesystem;
        await this.#open(state.condition === 'ok');
      }
      this.#look = state;
      if (state.condition !== 'out') await this.space.refresh();
    } catch (error) {
      this.#look = { condition: 'out', why: `cannot be looked at: ${reason(error)}` };
    }
    if (this.#look.condition === 'out') this.#opened = '';
  }

  /** Once for each disk that appears: removes left-overs, finds out what it holds. */
  async #open(writable: boolean): Promise<void> {
    const identity = `${this.uuid} ${this.#filesystem} ${writable}`;
    if (this.#opened === identity) return;
    const before = this.journal.sequence.value;
    await this.journal.open();
    // Set back while we ran: the tracker has to judge the disk anew.
    if (this.journal.sequence.value < before) this.#registered = undefined;
    await this.quarantine.open();
    await this.store.open(writable);
    await this.#count.open(this.id);
    this.#opened = identity;
  }

  /** Notes what the tracker says of the disk as it was in `report`. */
  judged(report: DeviceReport, verdict: Verdict): void {
    this.#registered = { uuid: report.uuid, out: report.condition === 'out', verdict };
    this.#noticeChange();
  }

  /** Writes the marker file of a new device, if the directory is still empty. */
  async format(cluster: string): Promise<void> {
    if (!(await isBlank(this.path))) throw new Error('the directory is not empty');
    await writeMarker(this.path, cluster, this.id);
    await this.look();
  }

  /** @param why the clock is not trusted, or undefined if it is */
  clockIs(why: string | undefined): void {
    this.#clock = why;
    this.#noticeChange();
  }

  /** Counts a blob that was stored or removed. */
  changed(fid: number, by: 1 | -1): void {
    this.#count.changed(fid, by);
  }

  /** A blob was put aside. */
  gone(fid: number): void {
    this.changed(fid, -1);
    this.#options.onGone(fid);
  }

  /**
   * What a blob's bytes on the disk are. One that was put aside comes back if it is right after all.
   * @throws Problem replica-missing, replica-corrupt, device-unavailable
   */
  verify(fid: number): Promise<Content> {
    return this.attempt('read', fid, async () => {
      try {
        const { size, sha256 } = await this.store.examine(fid);
        return { size, sha256 };
      } catch (error) {
        const writable = this.state.condition === 'ok';
        const back = writable ? await this.quarantine.giveBack(fid) : undefined;
        if (back === undefined) throw error;
        this.changed(fid, 1);
        // Makes its record anew.
        this.doubt(fid);
        return back;
      }
    });
  }

  /**
   * Tries the disk, at an operator's word. If it keeps what is written to it, a former failure is forgotten.
   * @throws Problem device-unavailable
   */
  async check(): Promise<void> {
    this.assertReadable();
    await this.attempt('write', 0, () => testDisk(this.ground));
    this.ground.directories.recover();
    this.#failure = undefined;
    await this.look();
  }

  /** The disk's copy of a blob is doubtful: it is looked at soon, and put aside if it is bad. */
  doubt(fid: number): void {
    this.scrub?.soon(fid);
  }

  /** Ends what runs in the background; what was written is durable then. */
  async stop(): Promise<void> {
    this.#count.stop();
    await this.scrub?.stop();
    await this.store.close().catch((error: unknown) => this.explain('write', 0, error));
    await this.journal.close().catch((error: unknown) => this.explain('write', 0, error));
  }

  /**
   * Does something with the disk, for one blob.
   * @throws Problem device-unavailable, replica-missing, replica-corrupt (unreadable), insufficient-storage
   */
  async attempt<T>(kind: DiskUse, fid: number, action: () => Promise<T>): Promise<T> {
    this.active++;
    try {
      return await action();
    } catch (error) {
      throw await this.explain(kind, fid, error);
    } finally {
      this.active--;
    }
  }

  /** What an error of the disk means. Findings are noted and the condition is changed on the way. */
  async explain(kind: DiskUse, fid: number, error: unknown): Promise<unknown> {
    const kindOfError = classify(error);
    if (kindOfError === undefined) return error;
    if (kindOfError === 'gone') return await this.#explainGone(kind, fid);
    if (kindOfError === 'full') {
      await this.space.refresh();
      return new Problem('insufficient-storage', `Device ${this.id} is full.`);
    }
    const { code } = error as NodeJS.ErrnoException;
    if (kindOfError === 'refused') {
      this.errors++;
      await this.look();
      return this.#unavailable(`it refused to ${kind} (${code})`);
    }
    this.errors++;
    this.#options.log.error({ device: this.id, fid, code }, `the disk failed to ${kind}`);
    if (kind === 'read') {
      this.#options.findings.add(this.id, fid, 'unreadable');
      this.doubt(fid);
      return new Problem('replica-corrupt', `Device ${this.id} cannot read blob ${fid} (${code}).`);
    }
    if (kind === 'list') return this.#unavailable(`its directories cannot be read (${code})`);
    this.#failure = `a write failed (${code}); look at the disk, then: cistern device check ${this.id}`;
    this.#noticeChange();
    return this.#unavailable(this.#failure);
  }

  async #explainGone(kind: DiskUse, fid: number): Promise<Problem> {
    if (kind === 'write') this.#opened = '';
    const problem = await this.missing(fid);
    if (problem.problem === 'device-unavailable') return problem;
    if (kind !== 'read') return this.#unavailable('a directory vanished while it was in use; try again');
    const aside = this.quarantine.has(fid);
    this.#options.findings.add(this.id, fid, aside ? 'corrupt' : 'missing');
    return aside
      ? new Problem('replica-corrupt', `Device ${this.id} has put blob ${fid} aside: it was bad.`)
      : problem;
  }

  /** The answer for a blob that is not there: only a disk that is known to be the right one may say 404. */
  async missing(fid: number): Promise<Problem> {
    // A look that is under way may have begun before the disk went.
    await this.#looking;
    await this.look();
    const { condition, why } = this.state;
    if (condition === 'out') return this.#unavailable(why ?? 'it is out of service');
    return new Problem('replica-missing', `Device ${this.id} does not hold blob ${fid}.`);
  }

  #refuse(why: string): never {
    throw this.#unavailable(why);
  }

  #unavailable(why: string): Problem {
    return new Problem('device-unavailable', `Device ${this.id} is not in service: ${why}.`);
  }

  #noticeChange(): void {
    const { state } = this;
    if (this.#conditions.note(state) && state.condition === 'out') this.#options.onOut(this);
  }
}
