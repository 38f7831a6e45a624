// Goes through the trees of several origins side by side, directory by directory, in the byte order of their paths.
import { joinKey } from '../lib/local.ts';
import { type Found, Scanner } from './scanner.ts';
import { inByteOrder } from './summaries.ts';
import type { Origin, Scanned, Skip } from './tree.ts';

/** Directories that are looked at before it is their turn. */
const AHEAD = 4;

/** A directory, and the origins that have it. */
interface Place {
  path: string;
  origins: Origin[];
}

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

export async function* walk({ origins, everything, excluded, skip }: WalkOptions): AsyncGenerator<Directory> {
  const scanner = new Scanner(everything);
  const looks = new Map<string, Promise<Found[]>>();
  const look = (place: Place): Promise<Found[]> => {
    let found = looks.get(place.path);
    if (found === undefined) {
      found = Promise.all(place.origins.map((origin) => scanner.scan(origin, place.path)));
      // Nobody waits for it if another fails before.
      found.catch(() => {});
      looks.set(place.path, found);
    }
    return found;
  };
  const places: Place[] = [{ path: '', origins }];
  try {
    for (let next = places.pop(); next !== undefined; next = places.pop()) {
      const looking = look(next);
      for (const later of places.slice(-AHEAD)) look(later);
      const { path } = next;
      looks.delete(path);
      const scans = scansOf(next, await looking, skip);
      const below = directoriesIn(path, scans, { excluded, skip });
      yield { path, scans, below };
      const inTurn = inByteOrder([...below.keys()]).reverse();
      places.push(
        ...inTurn.map((name) => ({ path: joinKey(path, name), origins: below.get(name) as Origin[] })),
      );
    }
  } finally {
    await scanner.close();
  }
}

function scansOf({ origins }: Place, found: Found[], skip: Skip): [Origin, Scanned][] {
  return found.flatMap(({ scanned, skipped }, i): [Origin, Scanned][] => {
    const origin = origins[i] as Origin;
    for (const { path, why, left } of skipped) skip(origin, path, why, left);
    return scanned === undefined ? [] : [[origin, scanned]];
  });
}

function directoriesIn(
  path: string,
  scans: [Origin, Scanned][],
  { excluded, skip }: Pick<WalkOptions, 'excluded' | 'skip'>,
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
