// Waiting for a condition, with an end.
import { setTimeout as sleep } from 'node:timers/promises';

/** What is left of a type when it is not falsy. */
type Truthy<T> = Exclude<T, false | 0 | '' | null | undefined>;

/**
 * Asks again and again until the answer is truthy, and returns it. A condition that throws is not met yet. The longer it
 * takes, the less often it is asked: what is waited for wants the processor too.
 * @param every milliseconds between two questions; without it, a tenth of the time that has passed, at most 250
 * @throws Error that says `what` was waited for, and the last thing that went wrong
 */
export async function waitFor<T>(
  condition: () => Promise<T> | T,
  { what, timeout = 45_000, every }: { what: string; timeout?: number; every?: number },
): Promise<Truthy<T>> {
  const began = Date.now();
  for (;;) {
    let last: unknown;
    try {
      const answer = await condition();
      if (answer) return answer as Truthy<T>;
    } catch (error) {
      last = error;
    }
    const passed = Date.now() - began;
    if (passed > timeout) {
      throw new Error(`waited ${timeout} ms in vain for ${what}`, { cause: last });
    }
    await sleep(every ?? Math.min(250, Math.max(10, passed / 10)));
  }
}
