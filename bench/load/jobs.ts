// What the load generator can be told to do, and what it answers. Both travel as JSON.

/** Which cluster, and as whom. */
export interface Target {
  tracker: string;
  domain: string;
  token: string;
}

interface Bounds {
  concurrency: number;
  /** Seconds before anything counts. */
  warmup: number;
  /** Seconds that count. */
  seconds: number;
  /** Most operations, those before anything counts among them. */
  most: number;
}

/** `keys` are `<prefix>/<i % directories>/<i>`. */
interface Keys {
  prefix: string;
  directories: number;
}

export type Work =
  /** Files of `size` bytes, each a new one. */
  | ({ kind: 'upload'; direct: boolean; size: number } & Target & Keys)
  /** One of the first `count` files, at random. */
  | ({ kind: 'download'; direct: boolean; size: number; count: number } & Target & Keys)
  | ({ kind: 'look-up'; method: 'stat' | 'HEAD'; count: number } & Target & Keys)
  /** Commits of receipts that were made beforehand. */
  | ({ kind: 'commit'; fids: number; receipts: ReceiptMaker; size: number } & Target & Keys)
  /** Blobs straight to a device, each with the bytes of `bytesOf`: every `step`th fid from `fids` on. Tickets were made beforehand. */
  | {
      kind: 'put-blob';
      node: string;
      device: number;
      size: number;
      fids: number;
      step: number;
      clusterKey: string;
    }
  /** What a disk can do with a file for each: write, fdatasync, rename, fsync of the directory, in `directory`. */
  | { kind: 'disk'; directory: string; size: number };

export type Job = Work & Bounds;

/** How to make receipts: `signers` are devices on different hosts, with the sessions that these have registered. */
export interface ReceiptMaker {
  clusterKey: string;
  signers: { host: string; session: string; device: number }[];
}

export interface Outcome {
  /** Operations that were completed in the time that counts. */
  count: number;
  seconds: number;
  perSecond: number;
  /** Milliseconds. */
  p50: number;
  p99: number;
  /** All operations, also those that did not count. */
  total: number;
  /** Processor seconds that the generator itself spent on all of them. */
  processor: number;
}
