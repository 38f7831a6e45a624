// What is to be reached on two cores, with clients, trackers, nodes and database on the same machine.

interface Target {
  what: string;
  unit: string;
  atLeast?: number;
  atMost?: number;
}

export type TargetName = keyof typeof targets;

export const targets = {
  'upload-4k': {
    what: 'Uploads of 4 KiB through the tracker, two fsynced copies, concurrency 32',
    unit: 'a second',
    atLeast: 1_600,
  },
  'upload-64k': {
    what: 'Uploads of 64 KiB through the tracker, two fsynced copies, concurrency 32',
    unit: 'a second',
    atLeast: 1_000,
  },
  'look-up': {
    what: 'Look-ups over HTTP (HEAD), 1,000,000 files, concurrency 32',
    unit: "times pgbench's SELECT",
    atLeast: 0.3,
  },
  'look-up-p99': {
    what: 'p99 of these look-ups at 1,000,000 files',
    unit: 'times that at 10,000',
    atMost: 2,
  },
  'list-flat': {
    what: 'Listing a level of ten entries above 1,000,000 files',
    unit: 'times that above 1,000',
    atMost: 2,
  },
  rename: {
    what: 'Renaming a directory with 1,000,000 files in 1,000 directories below',
    unit: 'ms',
    atMost: 50,
  },
  commit: {
    what: 'Commits over HTTP, concurrency 32',
    unit: "times pgbench's INSERT",
    atLeast: 0.5,
  },
  'node-get-64k': { what: 'GETs of 64 KiB from a storage node', unit: 'times nginx', atLeast: 0.5 },
  'node-get-1m': { what: 'GETs of 1 MiB from a storage node', unit: 'times nginx', atLeast: 0.5 },
  'repair-64k': {
    what: 'A device with 20,000 files of 64 KiB rebuilt by `cistern repair`',
    unit: 'times as fast as `rsync -a`',
    atLeast: 1,
  },
  'repair-1m': {
    what: 'A device with 2,000 files of 1 MiB rebuilt by `cistern repair`',
    unit: 'times as fast as `rsync -a`',
    atLeast: 0.8,
  },
  'import-first': {
    what: '`cistern import` of 500,000 files of 1 KiB, the first time',
    unit: 'times as fast as `rsync -a`',
    atLeast: 1,
  },
  'import-again': {
    what: 'The same again, with nothing to do',
    unit: 'times as fast as `rsync -a`',
    atLeast: 1,
  },
  fsck: { what: '`cistern fsck` of 1,000,000 files with two copies each', unit: 's', atMost: 120 },
  memory: {
    what: 'Memory of the largest tracker or node process, a 4 GiB file going up and down',
    unit: 'MiB',
    atMost: 200,
  },
  'drupal-cached': {
    what: 'Drupal: pages from the page cache',
    unit: 'times a local disk',
    atLeast: 0.95,
  },
  'drupal-uncached': {
    what: 'Drupal: time of an uncached page with 50 images in its text',
    unit: 'times a local disk',
    atMost: 1.3,
  },
  'drupal-upload': {
    what: 'Drupal: time to save a content form with a file',
    unit: 'times a local disk',
    atMost: 1.5,
  },
  'drupal-original': {
    what: 'Drupal: originals of 1 MiB through nginx',
    unit: 'times a local disk',
    atLeast: 0.5,
  },
} as const satisfies Record<string, Target>;

export interface Verdict {
  target: TargetName;
  what: string;
  wanted: string;
  got: number;
  unit: string;
  reached: boolean;
}

/** Holds figures against their targets; targets without a figure are left out. */
export function judge(figures: Partial<Record<TargetName, number>>): Verdict[] {
  return (Object.entries(targets) as [TargetName, Target][]).flatMap(([target, wish]) => {
    const got = figures[target];
    if (got === undefined) return [];
    const { what, unit, atLeast = Number.NEGATIVE_INFINITY, atMost = Number.POSITIVE_INFINITY } = wish;
    const wanted = wish.atLeast === undefined ? `at most ${wish.atMost}` : `at least ${wish.atLeast}`;
    return [{ target, what, wanted, got, unit, reached: got >= atLeast && got <= atMost }];
  });
}
