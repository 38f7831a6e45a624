// How many bytes a second this tracker may have copied for repairs: its share of what an operator allows all trackers
// together, by a row that all of them read, else by their setting.
import type { Queryable, Statement } from '../database/database.ts';

const readLimit: Statement = {
  name: 'throttle-read',
  text: `SELECT repair_bytes_per_second AS limit,
      (SELECT count(*) FROM trackers WHERE seen > now() - interval '15 seconds') AS trackers
    FROM cluster WHERE only_row`,
};

const writeLimit: Statement = {
  name: 'throttle-write',
  text: 'UPDATE cluster SET repair_bytes_per_second = $1 WHERE only_row',
};

/** What an operator allows all trackers together, in bytes a second: 0 any, null as their setting says. */
export async function repairLimit(db: Queryable): Promise<number | null> {
  const [row] = await db.query<{ limit: number | null }>(readLimit);
  return row?.limit ?? null;
}

export async function setRepairLimit(db: Queryable, limit: number | null): Promise<void> {
  await db.query(writeLimit, [limit]);
}

export class Throttle {
  readonly #setting: number;
  /** Bytes a second, 0: any. */
  #rate: number;
  /** Our monotonic clock, in milliseconds: what was spent is paid for then. */
  #paidAt = 0;

  /** @param setting bytes a second for all trackers, if no operator says otherwise; 0: any */
  constructor(setting: number) {
    this.#setting = setting;
    this.#rate = setting;
  }

  /** Bytes a second, 0: any. */
  get rate(): number {
    return this.#rate;
  }

  /** Reads what is allowed now. */
  async refresh(db: Queryable): Promise<void> {
    const [row] = await db.query<{ limit: number | null; trackers: number }>(readLimit);
    const all = row?.limit ?? this.#setting;
    this.#rate = all === 0 ? 0 : Math.max(all / Math.max(row?.trackers ?? 1, 1), 1);
    // A debt that was made when less was allowed need not be paid at that rate.
    if (this.#rate === 0) this.#paidAt = 0;
  }

  /** Notes that so many bytes are copied now. */
  spend(bytes: number): void {
    if (this.#rate === 0) return;
    this.#paidAt = Math.max(this.#paidAt, performance.now()) + (bytes / this.#rate) * 1000;
  }

  /** Milliseconds until the next copies may begin; 0: now. */
  wait(): number {
    return Math.max(0, this.#paidAt - performance.now());
  }
}
