// What replication does, as Prometheus counters.
import { Counter, type Registry } from 'prom-client';

export interface Meters {
  /** Blobs that have all their copies again. */
  repaired: Counter;
  /** Attempts at a repair that failed and are repeated later. */
  failed: Counter;
  copiedBytes: Counter;
  /** Bytes that rebalancing has moved. */
  movedBytes: Counter;
  /** Good replicas given up because there were enough better-placed ones. */
  trimmed: Counter;
  /** Replicas unlinked. */
  removed: Counter;
  /** Replicas found bad, by what was wrong with them. */
  bad: Counter<'kind'>;
  /** Replicas that the sweep found and the database did not know as they are, by what it did about them. */
  swept: Counter<'verdict'>;
}

/** Adds replication's counters to the tracker's registry. */
export function createMeters(registry: Registry): Meters {
  const registers = [registry];
  return {
    repaired: new Counter({
      name: 'cistern_repaired_total',
      help: 'Blobs that have all their copies again',
      registers,
    }),
    failed: new Counter({
      name: 'cistern_repair_failures_total',
      help: 'Attempts at a repair that failed and are repeated later',
      registers,
    }),
    copiedBytes: new Counter({
      name: 'cistern_repair_bytes_total',
      help: 'Bytes that storage nodes copied for repairs',
      registers,
    }),
    movedBytes: new Counter({
      name: 'cistern_rebalance_moved_bytes_total',
      help: 'Bytes that were copied to emptier devices, so that all are filled alike',
      registers,
    }),
    trimmed: new Counter({
      name: 'cistern_replicas_trimmed_total',
      help: 'Good replicas given up because there were enough better-placed ones',
      registers,
    }),
    removed: new Counter({
      name: 'cistern_replicas_removed_total',
      help: 'Replicas that were unlinked',
      registers,
    }),
    bad: new Counter({
      name: 'cistern_replicas_bad_total',
      help: 'Replicas found to be corrupt, missing or unreadable',
      labelNames: ['kind'],
      registers,
    }),
    swept: new Counter({
      name: 'cistern_swept_total',
      help: 'Replicas that the inventory sweep found other than the database knew them',
      labelNames: ['verdict'],
      registers,
    }),
  };
}
