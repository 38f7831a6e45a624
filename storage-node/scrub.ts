// Reads all blobs of a device again, slowly and for ever, and compares them with their records: silent corruption is to be
// found while other replicas are still good. What somebody came across and doubts is looked at first.
import { delay } from '../services/lifecycle.ts';
import type { Logger } from '../services/logging.ts';
import type { Finding, KnownBlob, ScrubReport } from '../services/protocol.ts';
import type { Content } from './blob-store.ts';
import type { Device } from './device.ts';
import { UNREADABLE } from './disk-errors.ts';
import { type Examined, isRight, recordOf } from './examination.ts';
import type { Findings } from './findings.ts';
import { GONE, reason } from './inspection.ts';
import type { BlobRecord } from './journal-record.ts';
import { FIDS_A_DIRECTORY, type Leaf, leaves } from './layout.ts';
import { Pace } from './pace.ts';
import { PIECE } from './page-memory.ts';
import { loadScrubState, NOT_BEGUN, type ScrubState, saveScrubState } from './scrub-state.ts';

const DAY_MS = 86_400_000;
const LOOK_MS = 1_000;
const RETRY_MS = 30_000;
const SAVE_MS = 30_000;
const PURGE_MS = 3_600_000;
const MOST_DOUBTS = 1_000;

export interface ScrubOptions {
  device: Device;
  findings: Findings;
  log: Logger;
  /** A pass is made in so many days; 0: none. */
  days: number;
  /** Never faster than this. */
  bytesPerSecond: number;
  /** How long bad replicas are kept aside. */
  quarantineDays: number;
  /** What the cluster knows of these blobs; fails if no tracker answers. */
  describe(fids: number[]): Promise<KnownBlob[]>;
}

/** A blob that is not what its record says, or that has none. */
interface Unsettled {
  fid: number;
  /** Undefined: it could not be read. */
  found: Examined | undefined;
  record: BlobRecord | undefined;
}

export class Scrub {
  readonly #options: ScrubOptions;
  readonly #pace: Pace;
  readonly #doubts = new Set<number>();
  readonly #ended = new AbortController();
  #state: ScrubState = NOT_BEGUN;
  /** The disk that the state is of. */
  #uuid: string | null = null;
  #savedAt = 0;
  #purgedAt = 0;
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: ScrubOptions) {
    this.#options = options;
    const { device, days, bytesPerSecond } = options;
    this.#pace = new Pace(device, days * DAY_MS, bytesPerSecond, this.#ended.signal);
  }

  get report(): ScrubReport {
    const { days } = this.#options;
    return { ...this.#state, days };
  }

  start(): void {
    const passes = this.#repeat(() => this.#work());
    const doubts = this.#repeat(() => this.#lookAtDoubts());
    this.#running = Promise.all([passes, doubts]);
  }

  async stop(): Promise<void> {
    this.#ended.abort();
    await this.#running;
  }

  /** Somebody found this blob bad, or could not check it: it is looked at within a second or so. */
  soon(fid: number): void {
    if (this.#doubts.size < MOST_DOUBTS) this.#doubts.add(fid);
  }

  async #repeat(action: () => Promise<void>): Promise<void> {
    const { device, log } = this.#options;
    const { signal } = this.#ended;
    while (!signal.aborted) {
      try {
        if (this.#mayRead) await action();
        await delay(LOOK_MS, signal);
      } catch (error) {
        if (signal.aborted) return;
        log.warn({ device: device.id, why: reason(error) }, 'the scrub was broken off; it goes on later');
        await delay(RETRY_MS, signal);
      }
    }
  }

  async #work(): Promise<void> {
    const { device, quarantineDays } = this.#options;
    if (this.#uuid !== device.uuid) {
      this.#state = await loadScrubState(device.path);
      this.#uuid = device.uuid;
    }
    if (this.#isDue) await this.#pass();
    if (this.#mayWrite && Date.now() - this.#purgedAt > PURGE_MS) {
      this.#purgedAt = Date.now();
      await device.quarantine.purge(quarantineDays);
    }
  }

  get #mayRead(): boolean {
    const { device } = this.#options;
    return device.state.condition !== 'out' && device.accepted && !this.#ended.signal.aborted;
  }

  get #mayWrite(): boolean {
    return this.#options.device.state.condition === 'ok';
  }

  get #isDue(): boolean {
    const { days } = this.#options;
    const { position, began } = this.#state;
    if (days === 0) return false;
    return position !== null || began === null || began + days * DAY_MS <= Date.now();
  }

  /** Goes on with the present pass, or begins one; ends when it is complete, or the device goes or the node stops. */
  async #pass(): Promise<void> {
    const { device, log } = this.#options;
    if (this.#state.position === null) {
      const { completed, found } = this.#state;
      this.#state = { ...NOT_BEGUN, began: Date.now(), completed, found, position: 0 };
    }
    for await (const leaf of leaves(device.path, (this.#state.position ?? 0) + 1)) {
      try {
        await this.#passLeaf(leaf);
      } finally {
        await this.#save();
      }
      if (!this.#mayRead) return;
    }
    this.#state = { ...this.#state, completed: Date.now(), position: null };
    await this.#save();
    const { bytes, blobs, unverified, found } = this.#state;
    log.info({ device: device.id, bytes, blobs, unverified, found }, 'scrubbed the device from end to end');
  }

  /** The position moves on when all that lies before it is settled. */
  async #passLeaf(leaf: Leaf): Promise<void> {
    const { device } = this.#options;
    const records = await device.journal.read(leaf.first);
    const rest = (bytes: number) => this.#pace.rest(bytes);
    let unsettled: Unsettled[] = [];
    const settleTo = async (position: number) => {
      await this.#settle(unsettled);
      unsettled = [];
      this.#state.position = position;
    };
    for (const fid of await device.store.fids(leaf)) {
      if (fid <= (this.#state.position ?? 0)) continue;
      const doubtful = await this.#lookAt(fid, records.get(fid), rest);
      if (!this.#mayRead) return;
      if (doubtful !== undefined) unsettled.push(doubtful);
      const saving = Date.now() - this.#savedAt > SAVE_MS;
      if (unsettled.length === 0 || saving) await settleTo(fid);
      if (saving) await this.#save();
    }
    await settleTo(leaf.first + FIDS_A_DIRECTORY - 1);
    if (this.#mayWrite) await device.journal.tidy(leaf.first);
  }

  async #lookAtDoubts(): Promise<void> {
    for (const fid of this.#doubts) {
      this.#doubts.delete(fid);
      const doubtful = await this.#lookAt(fid, await this.#options.device.journal.find(fid), () =>
        this.#ended.signal.throwIfAborted(),
      );
      if (doubtful !== undefined) await this.#settle([doubtful]);
    }
  }

  /** Reads one blob. Answers with what is to be settled about it, if anything is. */
  async #lookAt(
    fid: number,
    record: BlobRecord | undefined,
    rest: (bytes: number) => Promise<void> | void,
  ): Promise<Unsettled | undefined> {
    let found: Examined | undefined;
    try {
      found = await this.#options.device.store.examine(fid, rest);
    } catch (error) {
      return UNREADABLE.has(codeOf(error)) ? { fid, found, record } : this.#passOver(error);
    }
    this.#state.bytes += found.size;
    this.#state.blobs++;
    await rest(found.size % PIECE);
    if (record === undefined || !isRight(found, record)) return { fid, found, record };
    // A record of an earlier version, or one that was made anew.
    if (found.crc !== undefined && record.crc === undefined)
      await this.#record({ ...record, crc: found.crc });
    return undefined;
  }

  /** Finds out about blobs that are not as recorded, or not recorded: the cluster knows what they should be. */
  async #settle(unsettled: Unsettled[]): Promise<void> {
    if (unsettled.length === 0) return;
    const answer = await this.#options.describe(unsettled.map(({ fid }) => fid)).catch(() => undefined);
    const known = answer && new Map(answer.map((blob) => [blob.fid, blob]));
    for (const { fid, found, record } of unsettled) {
      const blob = known?.get(fid);
      // Without a tracker the record is all there is; with one, what it does not know is the sweep's.
      const expected = known === undefined ? record : blob;
      if (expected === undefined) this.#state.unverified++;
      else if (found === undefined || !isRight(found, expected)) await this.#condemn(fid, expected);
      else if (blob !== undefined) await this.#record(recordOf(found, blob, record?.at ?? Date.now()));
    }
  }

  async #record(record: BlobRecord): Promise<void> {
    if (this.#mayWrite) await this.#options.device.journal.add(record);
  }

  /** It was wrong or could not be read. If it is so when it is read once more, the replica is bad. */
  async #condemn(fid: number, { size, sha256 }: Content): Promise<void> {
    const { store } = this.#options.device;
    const expected = { size, sha256 };
    try {
      const identity = await store.identify(fid);
      const again = await store.examine(fid).catch((error: unknown) => {
        if (UNREADABLE.has(codeOf(error))) return 'unreadable' as const;
        throw error;
      });
      if (again === 'unreadable') await this.#quarantine(fid, identity, expected, again);
      else if (!isRight(again, expected)) await this.#quarantine(fid, identity, expected, 'corrupt');
    } catch (error) {
      this.#passOver(error);
    }
  }

  async #quarantine(fid: number, identity: string, expected: Content, kind: Finding['kind']): Promise<void> {
    const { device, findings, log } = this.#options;
    this.#state.found++;
    findings.add(device.id, fid, kind);
    const take = () => device.quarantine.take(fid, identity, expected);
    const moved = this.#mayWrite && (await device.attempt('write', fid, take));
    if (moved) {
      device.gone(fid);
      await device.journal.removed(fid);
    }
    log.error({ device: device.id, fid, kind, moved }, 'a replica is bad');
  }

  /** A blob that was removed meanwhile is no trouble; any other error is. */
  #passOver(error: unknown): undefined {
    if (!GONE.has(codeOf(error))) throw error;
  }

  async #save(): Promise<void> {
    const { device } = this.#options;
    this.#savedAt = Date.now();
    if (this.#mayWrite) await saveScrubState(device.path, this.#state);
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? '';
}
