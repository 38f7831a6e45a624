// Goes through the trees of several origins side by side, directory by directory, in the byte order of their paths.
import { joinKey } from '../lib/local.ts';
import { inByteOrder } from './summaries.ts';
import { type Origin, type Scanned, type Skip, scanDirectory } from './tree.ts';

export interface Directory {
  /** Relative to the origins; '' for themselves. */
  path: string;
  /** Of each origin that has it. */
  scans: [Origin, Scanned][];
  /** The directories in it, each with the origins that have it. */
  below: Map<string, Origin[]>;
}

export interface WalkOptions {
  origins: Origin[];
  everything: boolean;
  /** Whether a path is left out, with all below. */
  excluded(path: string): boolean;
  skip: Skip;
}

export function* walk(options: WalkOptions): Generator<Directory> {
  const { everything, skip } = options;
  const places = [{ path: '', origins: options.origins }];
  for (let next = places.pop(); next !== undefined; next = places.pop()) {
    const { path, origins } = next;
    const scans = origins.flatMap((origin): [Origin, Scanned][] => {
      const scanned = scanDirectory(origin, path, everything, skip);
      return scanned === undefined ? [] : [[origin, scanned]];
    });
    const below = directoriesIn(path, scans, options);
    yield { path, scans, below };
    const inTurn = inByteOrder([...below.keys()]).reverse();
    places.push(
      ...inTurn.map((name) => ({ path: joinKey(path, name), origins: below.get(name) as Origin[] })),
    );
  }
}

function directoriesIn(
  path: string,
  scans: [Origin, Scanned][],
  { excluded, skip }: WalkOptions,
): Map<string, Origin[]> {
  const below = new Map<string, Origin[]>();
  for (const [origin, { directories }] of scans) {
    for (const name of directories) {
      const child = joinKey(path, name);
      if (excluded(child)) skip(origin, child, 'by --exclude', false);
      else below.set(name, [...(below.get(name) ?? []), origin]);
    }
  }
  return below;
}
