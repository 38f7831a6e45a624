// The database as Prometheus sees it through this tracker.
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Database } from './database.ts';

/** Adds the gauges. @returns the counter of reads that were answered while no primary did */
export function watchDatabase(registry: Registry, db: Database): Counter {
  const registers = [registry];
  new Gauge({
    name: 'cistern_database_up',
    help: '1 if a primary of the database answers this tracker',
    registers,
    collect() {
      this.set(db.standing === undefined ? 0 : 1);
    },
  });
  new Gauge({
    name: 'cistern_database_writable',
    help: '1 if the database may be written to: where that is required, commits reach a synchronous standby',
    registers,
    collect() {
      this.set(db.standing !== undefined && db.standing.readOnly === undefined ? 1 : 0);
    },
  });
  return new Counter({
    name: 'cistern_stale_reads_total',
    help: 'Reads of files whose names were remembered, while no primary of the database answered',
    registers,
  });
}
