// What a suite of measurements is given, and what it gives back.
import type { Cluster } from './cluster.ts';
import type { TargetName } from './targets.ts';

export interface Bench {
  /** A small subset, to see that everything runs; its figures mean nothing. */
  quick: boolean;
  /** Seconds that each measurement counts, and seconds before. */
  seconds: number;
  warmup: number;
  /** Tells whoever waits what is being done. */
  say(line: string): void;
  /** Runs `work` with a fresh cluster. */
  withCluster<T>(work: (cluster: Cluster) => Promise<T>): Promise<T>;
}

/** A row of a table: its columns are the same in all rows. Times are in milliseconds. */
export type Row = Record<string, string | number>;

export interface Findings {
  rows: Row[];
  /** What was not measured, and why. */
  skipped: string[];
  /** What the targets are held against. */
  figures: Partial<Record<TargetName, number>>;
}

export interface Suite {
  name: string;
  title: string;
  /** What exactly is measured, for whoever reads the table. */
  about: string;
  run(bench: Bench): Promise<Findings>;
}
