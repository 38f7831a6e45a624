// Is a history of one key linearizable: can each operation be given an instant between its begin and its answer, so
// that all answers are right? (The search of Wing and Gong, with what it has seen remembered.)

/** The file's SHA-256, or null for no file. */
export type Value = string | null;

export interface Step {
  /** Milliseconds on one clock. An operation whose answer was lost ends at Infinity, and may never happen. */
  begin: number;
  end: number;
  /** What was asked; `if` is what the key must hold for it: null (If-None-Match: *), a digest, or 'any' file. */
  kind: 'read' | 'write';
  /** What was read, or written (null: deleted). */
  value: Value;
  if?: Value | 'any';
  /** For writes: whether it was done, or refused because of `if`; undefined if the answer was lost. */
  done?: boolean;
  /** Who did it, for the report. */
  by: string;
}

/** The key's value after the step, or undefined if the step cannot be the next one. */
function follow(state: Value, step: Step): Value | undefined {
  if (step.kind === 'read') return step.value === state ? state : undefined;
  const allowed = step.if === undefined || (step.if === 'any' ? state !== null : step.if === state);
  if (step.done === false) return allowed ? undefined : state;
  return allowed ? step.value : undefined;
}

/** True if the history can be explained, from a key that holds nothing. */
export function isLinearizable(history: readonly Step[]): boolean {
  const steps = history.toSorted((a, b) => a.begin - b.begin);
  const done = new Array<boolean>(steps.length).fill(false);
  const seen = new Set<string>();

  const search = (first: number, state: Value): boolean => {
    let from = first;
    while (done[from]) from++;
    // What is known to have happened must be explained; what was lost may never have.
    if (steps.every((step, i) => done[i] || step.end === Number.POSITIVE_INFINITY)) return true;
    const mark = `${from}|${state}|${done
      .slice(from, done.lastIndexOf(true) + 1)
      .map(Number)
      .join('')}`;
    if (seen.has(mark)) return false;
    seen.add(mark);
    let horizon = Number.POSITIVE_INFINITY;
    for (let i = from; i < steps.length; i++)
      if (!done[i]) horizon = Math.min(horizon, (steps[i] as Step).end);
    for (let i = from; i < steps.length && (steps[i] as Step).begin <= horizon; i++) {
      if (done[i]) continue;
      const next = follow(state, steps[i] as Step);
      if (next === undefined) continue;
      done[i] = true;
      if (search(from, next)) return true;
      done[i] = false;
    }
    return false;
  };
  return search(0, null);
}
