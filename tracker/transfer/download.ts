// Downloads through the tracker: the bytes of a blob from whichever replica can be read. One that fails is skipped for
// the next, at the byte where it failed.
import { createHash } from 'node:crypto';
import { Problem } from '../../services/problems.ts';
import type { Finding } from '../../services/protocol.ts';
import type { ByteRange } from '../../services/ranges.ts';
import type { DeviceState, DomainState } from '../cluster/state.ts';
import type { Found, FoundFile } from '../namespace/types.ts';
import type { Tracker } from '../tracker.ts';

/** Nodes check blobs up to this size as a whole before they send them; larger ones are checked here on the way. */
export const WHOLE_BYTES = 1024 * 1024;

/** The key names something else now, and what it named before cannot be read any more. */
export class Superseded extends Error {
  override name = 'Superseded';
  readonly found: Found | undefined;

  constructor(found: Found | undefined) {
    super('the key was given another version meanwhile');
    this.found = found;
  }
}

/** The replicas of one file, for one request. */
export class Replicas {
  readonly #tracker: Tracker;
  readonly #domain: DomainState;
  readonly #file: FoundFile;
  readonly #requestId: string;
  readonly #failed = new Set<number>();
  readonly #served = new Set<number>();
  #candidates: DeviceState[];
  #lookedAgain = false;

  constructor(tracker: Tracker, domain: DomainState, file: FoundFile, requestId: string) {
    this.#tracker = tracker;
    this.#domain = domain;
    this.#file = file;
    this.#requestId = requestId;
    this.#candidates = this.#readable(file.devices);
  }

  /**
   * The device to be asked next.
   * @throws Problem no-good-replica, Superseded
   */
  async pick(): Promise<DeviceState> {
    if (this.#candidates.length === 0 && !this.#lookedAgain) await this.#lookAgain();
    const [device] = this.#candidates;
    if (device !== undefined) return device;
    throw new Problem(
      'no-good-replica',
      'None of the replicas can be read now. Try again; see: cistern repair.',
    );
  }

  /**
   * All bytes of a blob of at most WHOLE_BYTES, as its node verified them.
   * @throws Problem no-good-replica, Superseded
   */
  async whole(): Promise<Uint8Array> {
    if (this.#file.size === 0) return new Uint8Array();
    for (;;) {
      const device = await this.pick();
      try {
        const bytes = await this.#tracker.nodes.read(device, { ...this.#blob(), requestId: this.#requestId });
        this.#tracker.metrics.bytes.inc({ direction: 'sent' }, bytes.length);
        return bytes;
      } catch (error) {
        this.#skip(device, error);
      }
    }
  }

  /** The bytes of one range; throws as `pick` does, at whatever byte no replica is left. */
  async *bytes({ start, end }: ByteRange): AsyncGenerator<Uint8Array> {
    let at = start;
    while (at <= end) {
      const device = await this.pick();
      try {
        const range = start === 0 && at === 0 && end === this.#file.size - 1 ? undefined : { start: at, end };
        const options = { ...this.#blob(), range, requestId: this.#requestId };
        const { body } = await this.#tracker.nodes.get(device, options);
        this.#served.add(device.id);
        for await (const chunk of body as AsyncIterable<Uint8Array>) {
          at += chunk.length;
          this.#tracker.metrics.bytes.inc({ direction: 'sent' }, chunk.length);
          yield chunk;
        }
        if (at <= end) throw new Error('the body ended early');
      } catch (error) {
        this.#skip(device, error);
      }
    }
  }

  /**
   * All bytes of a large blob, hashed on the way. The last piece is kept back until the digest is known to be right,
   * so that corrupt bytes never pass for the whole file: on a mismatch it throws, and the connection is cut.
   */
  async *verifiedBytes(): AsyncGenerator<Uint8Array> {
    const { size, sha256, fid } = this.#file;
    const hasher = createHash('sha256');
    let last: Uint8Array | undefined;
    for await (const chunk of this.bytes({ start: 0, end: size - 1 })) {
      if (last !== undefined) yield last;
      hasher.update(chunk);
      last = chunk;
    }
    if (hasher.digest('hex') !== sha256) {
      for (const device of this.#served) this.#report(device, 'corrupt');
      throw new Error(`the replicas of blob ${fid} gave other bytes than were stored`);
    }
    if (last !== undefined) yield last;
  }

  #blob() {
    const { fid, size, sha256 } = this.#file;
    return { fid, size, sha256 };
  }

  /** Devices that can be read and have not failed, in random order, suspects last. */
  #readable(ids: number[]): DeviceState[] {
    const { state } = this.#tracker;
    const rank = (id: number) => Math.random() + (state.isSuspect(id) ? 1 : 0);
    return ids
      .map((id) => ({ device: state.device(id), rank: rank(id) }))
      .filter(({ device }) => device?.readable && !this.#failed.has(device.id))
      .sort((a, b) => a.rank - b.rank)
      .map(({ device }) => device as DeviceState);
  }

  /** The replicas may have been moved since the name was looked up, or the version may have been replaced. */
  async #lookAgain(): Promise<void> {
    this.#lookedAgain = true;
    const found = await this.#tracker.namespace.find(this.#domain, this.#file.key);
    if (found?.kind !== 'file' || found.fid !== this.#file.fid) throw new Superseded(found);
    this.#candidates = this.#readable(found.devices);
  }

  #skip(device: DeviceState, error: unknown): void {
    this.#failed.add(device.id);
    this.#candidates = this.#candidates.filter(({ id }) => id !== device.id);
    const kind = error instanceof Problem ? findings[error.problem] : undefined;
    if (kind !== undefined) this.#report(device.id, kind);
    else this.#tracker.state.suspect(device.id);
    const why = error instanceof Error ? error.message : String(error);
    const fields = {
      id: this.#requestId,
      fid: this.#file.fid,
      device: device.id,
      host: device.host.name,
      why,
    };
    this.#tracker.log.warn(fields, 'download: replica failed');
  }

  #report(device: number, kind: Finding['kind']): void {
    const { replication, log } = this.#tracker;
    const { fid } = this.#file;
    replication.reportBad(fid, device, kind).catch((error: Error) => {
      // The next reader, or the node's heartbeat, reports it again.
      log.warn({ fid, device, why: error.message }, 'download: could not report a bad replica');
    });
  }
}

const findings: Partial<Record<Problem['problem'], Finding['kind']>> = {
  'replica-corrupt': 'corrupt',
  'replica-missing': 'missing',
};
