// One new blob on its way to its devices: which were asked, which hold it, which may be asked next.
import { Problem } from '../../services/problems.ts';
import type { Binding } from '../../services/tickets.ts';
import { choosePlaces, placementProblem } from '../cluster/placement.ts';
import type { ClassState, ClusterState, DeviceState } from '../cluster/state.ts';
import type { BlobRef, NodeClient, PutOrder } from './node-client.ts';

/** What an upload needs of the tracker. */
export interface Parts {
  state: Pick<ClusterState, 'devices' | 'hosts' | 'suspect' | 'isSuspect'>;
  nodes: NodeClient;
  log: { warn(fields: object, message: string): void };
}

export interface BlobOrder {
  fid: number;
  /** What the bytes are for. `class` decides how many copies there must be. */
  binding: Binding;
  class: Pick<ClassState, 'copies' | 'minCopies'> & Partial<Pick<ClassState, 'spread'>>;
  /** Bytes, or the most that there can be while that is not known. */
  max: number;
  /** Bytes, if they are known. */
  length?: number | undefined;
  /** The digest that the client announced, in hex. */
  sha256?: string | undefined;
  requestId?: string | undefined;
}

/** A blob that at least `minCopies` devices on different hosts hold durably. */
export interface Stored {
  fid: number;
  size: number;
  sha256: string;
  /** Ids of the devices that hold it. */
  devices: number[];
  /** Ids of all devices that may hold it, also those whose answer was lost: what a burn must remove. */
  mayHold: number[];
}

/** A body of unknown length may fill this part of what a device has free, so that others find room beside it. */
const SPARE_PART = 8;

/** Why a request to a node was given up by us. */
export class Stalled extends Error {
  override name = 'Stalled';
}

export class Placing {
  readonly order: BlobOrder;
  /** The devices chosen at first. */
  places: DeviceState[] = [];
  /** Most bytes that are taken; nodes set that much space aside for a body of unknown length. */
  max: number;
  readonly good: { device: DeviceState; blob: BlobRef }[] = [];
  readonly #parts: Parts;
  readonly #mayHold = new Set<number>();
  readonly #tried = new Set<number>();
  /** Hosts that hold the blob or are being sent it. */
  readonly #hosts = new Set<number>();
  #refusal: Problem | undefined;

  constructor(parts: Parts, order: BlobOrder) {
    this.#parts = parts;
    this.order = order;
    this.max = order.max;
  }

  /**
   * Chooses the first devices.
   * @throws Problem too-few-devices, insufficient-storage if the class's `minCopies` cannot be reached
   */
  begin(): this {
    const { max, length, class: wanted } = this.order;
    this.places = this.next(wanted.copies);
    if (this.places.length < wanted.minCopies) {
      // Those that were found must not count as taken when it is said what is missing.
      this.#hosts.clear();
      this.#tried.clear();
      throw placementProblem(this.#parts.state, this.#wish(wanted.minCopies), wanted.minCopies);
    }
    const spare = this.places.map(({ free }) => Math.ceil(free / SPARE_PART));
    this.max = Math.min(max, length ?? Math.min(...spare));
    return this;
  }

  /** Takes note of a device that holds the blob already. */
  holds(device: DeviceState, blob: BlobRef): void {
    this.#tried.add(device.id);
    this.#hosts.add(device.host.id);
    this.good.push({ device, blob });
  }

  /** Enough devices hold the blob for the upload to be acknowledged. */
  get enough(): boolean {
    return this.good.length >= this.order.class.minCopies;
  }

  /** Up to `count` devices that were not tried, on hosts that are not in use. They count as tried from now on. */
  next(count: number): DeviceState[] {
    const chosen = choosePlaces(this.#parts.state, this.#wish(count));
    for (const device of chosen) {
      this.#tried.add(device.id);
      this.#hosts.add(device.host.id);
    }
    return chosen;
  }

  /** Sends the blob to one device. Never throws: true if the device now holds it. */
  put(device: DeviceState, how: Pick<PutOrder, 'body' | 'timeoutMs' | 'signal'>): Promise<boolean> {
    const { nodes } = this.#parts;
    const { fid, binding, length, sha256, requestId } = this.order;
    const { max } = this;
    if (Buffer.isBuffer(how.body)) this.sent(device);
    return this.#settle(device, nodes.put(device, { fid, max, binding, length, sha256, requestId, ...how }));
  }

  /** All bytes are on their way to the device: it may hold the blob whatever it answers. */
  sent(device: DeviceState): void {
    this.#mayHold.add(device.id);
  }

  /** While too few devices hold the blob, and one does: has others copy it from there. */
  async complete(): Promise<void> {
    while (this.good.length > 0 && !this.enough) {
      const targets = this.next(this.order.class.minCopies - this.good.length);
      if (targets.length === 0) return;
      await Promise.all(targets.map((device) => this.#copy(device)));
    }
  }

  /**
   * The blob as it was stored.
   * @throws Problem why it was not: digest-mismatch, insufficient-storage, too-few-devices
   */
  result(): Stored {
    const [first] = this.good;
    if (first === undefined || !this.enough) throw this.failure();
    const { fid, size, sha256 } = first.blob;
    const { length, sha256: announced = sha256 } = this.order;
    const agree = this.good.every(({ blob }) => blob.size === size && blob.sha256 === sha256);
    if (!agree || announced !== sha256 || (length ?? size) !== size) {
      throw new Problem('too-few-devices', 'The bytes changed on their way to the devices. Send them again.');
    }
    const devices = this.good.map(({ device }) => device.id);
    return { fid, size, sha256, devices, mayHold: this.mayHold() };
  }

  mayHold(): number[] {
    return [...this.#mayHold];
  }

  /** Why a body of more than `max` bytes is refused. */
  tooLarge(): Problem {
    if (this.max === this.order.max) {
      return new Problem('body-too-large', `The file is larger than ${this.max} bytes.`);
    }
    return new Problem(
      'insufficient-storage',
      `There is room for ${this.max} bytes of unknown length. Send the file with a Content-Length, or add devices.`,
    );
  }

  /** Why too few devices hold the blob. What a node refused for lies with the bytes, or with the space. */
  failure(): Problem {
    if (this.#refusal !== undefined) return this.#refusal;
    const { class: wanted } = this.order;
    return new Problem(
      'too-few-devices',
      `${wanted.minCopies} devices on different hosts must hold the file, ${this.good.length} took it. Try again; see: cistern status.`,
    );
  }

  async #copy(device: DeviceState): Promise<void> {
    const { binding, requestId } = this.order;
    const [first] = this.good;
    if (first === undefined) return;
    const { fid, size, sha256 } = first.blob;
    const sources = this.good.map((one) => one.device);
    this.sent(device);
    await this.#settle(
      device,
      this.#parts.nodes.copy(device, { fid, size, sha256, binding, sources, requestId }),
    );
  }

  async #settle(device: DeviceState, answer: Promise<BlobRef>): Promise<boolean> {
    try {
      this.good.push({ device, blob: await answer });
      return true;
    } catch (error) {
      this.#failed(device, error);
      return false;
    }
  }

  #failed(device: DeviceState, error: unknown): void {
    this.#hosts.delete(device.host.id);
    if (error instanceof Problem) {
      // The node says that it did not store the blob, unless it does not know itself what went wrong.
      if (error.problem !== 'internal') this.#mayHold.delete(device.id);
      if (refusals.has(error.problem)) this.#refusal = error;
    }
    if (error instanceof Stalled) this.#parts.state.suspect(device.id);
    const { fid, requestId } = this.order;
    const why = error instanceof Error ? error.message : String(error);
    this.#parts.log.warn(
      { id: requestId, fid, device: device.id, host: device.host.name, why },
      'upload: device failed',
    );
  }

  #wish(copies: number) {
    const size = this.order.length ?? 0;
    const { spread = 'host' } = this.order.class;
    const takenZones = new Set(this.good.map(({ device }) => device.host.zone));
    return { copies, size, excludeHosts: this.#hosts, excludeDevices: this.#tried, spread, takenZones };
  }
}

const refusals: ReadonlySet<string> = new Set(['digest-mismatch', 'body-too-large', 'insufficient-storage']);
