// Keeps to so many bytes a second.
import { setTimeout as sleep } from 'node:timers/promises';

/** Resolves when so many more bytes may be sent. */
export type Pace = (bytes: number) => Promise<void>;

/** @param bytesPerSecond 0: no limit */
export function paceOf(bytesPerSecond: number, signal: AbortSignal): Pace {
  if (bytesPerSecond === 0) return async () => {};
  // When all that was let through so far is paid for.
  let free = 0;
  return async (bytes) => {
    const now = performance.now();
    const wait = free - now;
    free = Math.max(free, now) + (bytes / bytesPerSecond) * 1000;
    if (wait > 0) await sleep(wait, undefined, { signal });
  };
}
