// When to stop watching a repair: as long as files are mended there is hope, and no file is given up untried.
import type { Repair } from './types.ts';

/** What the queue looked like when it last changed, and when that was (milliseconds). */
export interface Mark {
  state: Repair;
  at: number;
}

/** A file that was tried in vain may be tried again at once for another reason; so much calm is wanted. */
const CALM_MS = 3_000;

/** True if files were mended, or new ones were queued, between two looks. */
export function moved(before: Repair, now: Repair): boolean {
  return (
    before.queued !== now.queued ||
    before.underReplicated !== now.underReplicated ||
    before.withoutCopy !== now.withoutCopy
  );
}

/**
 * True if every file in the queue was tried in vain since `first` was seen, so that waiting longer helps nobody.
 * The tracker names only the worst of those that failed; when the queue is longer than that, this says no.
 */
export function nothingToTry(first: Repair, now: Repair, stillMs: number): boolean {
  if (stillMs < CALM_MS || now.stuck.length < now.queued) return false;
  const before = new Map(first.stuck.map((file) => [file.fid, file.attempts]));
  return now.stuck.every((file) => file.attempts > (before.get(file.fid) ?? 0));
}
