// Which devices are down for so long that their replicas are made elsewhere, without anybody having said so. That is
// decided by what this tracker has seen itself, on its own monotonic clock: after an outage of the database, or of this
// tracker, all devices look down, and nothing may be copied for that (hazard 19). `dead` is only ever a person's word.
import type { DeviceState, HostState } from '../cluster/state.ts';

export interface Seen {
  devices(): readonly DeviceState[];
  hosts(): readonly HostState[];
  /** Milliseconds since the cluster's state was read from the database. */
  readonly ageMs: number;
}

export class Watch {
  readonly #state: Seen;
  readonly #healMs: number;
  readonly #gapMs: number;
  readonly #now: () => number;
  #lookedAt = Number.NEGATIVE_INFINITY;
  /** Since when each device that cannot be read is watched. */
  readonly #awaySince = new Map<number, number>();
  #missed: ReadonlySet<number> = new Set();

  /**
   * @param healSeconds how long a device must be away; 0: never
   * @param gapSeconds after a longer time without a look, or without a state that is so fresh, watching begins anew
   */
  constructor(
    state: Seen,
    { healSeconds, gapSeconds }: { healSeconds: number; gapSeconds: number },
    now: () => number = () => performance.now(),
  ) {
    this.#state = state;
    this.#healMs = healSeconds === 0 ? Number.POSITIVE_INFINITY : healSeconds * 1000;
    this.#gapMs = gapSeconds * 1000;
    this.#now = now;
  }

  /** The devices whose replicas do not count for now, as of the last look. */
  get missed(): ReadonlySet<number> {
    return this.#missed;
  }

  /** To be called every few seconds. Returns the devices that were missed until now and can be read again. */
  look(): number[] {
    const now = this.#now();
    if (now - this.#lookedAt > this.#gapMs || this.#state.ageMs > this.#gapMs) this.#awaySince.clear();
    this.#lookedAt = now;
    const before = this.#missed;
    const devices = this.#state.devices();
    for (const { id, readable, state } of devices) {
      if (readable || state === 'dead') this.#awaySince.delete(id);
      else if (!this.#awaySince.has(id)) this.#awaySince.set(id, now);
    }
    const long = devices.filter(({ id }) => now - (this.#awaySince.get(id) ?? now) >= this.#healMs);
    this.#missed = new Set(this.#mostHostsUp(devices) ? long.map(({ id }) => id) : []);
    return devices.flatMap(({ id, readable }) => (readable && before.has(id) ? [id] : []));
  }

  /** If half of the hosts are away, it is more likely that the network or this tracker is. */
  #mostHostsUp(devices: readonly DeviceState[]): boolean {
    const used = new Set(devices.flatMap(({ host, state }) => (state === 'dead' ? [] : [host.id])));
    const hosts = this.#state.hosts().filter(({ id }) => used.has(id));
    return hosts.filter(({ up }) => up).length * 2 > hosts.length;
  }
}
