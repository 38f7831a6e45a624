// Is a history of one key linearizable: can each operation be given an instant between its begin and its answer, so
// that all answers are right? (The search of Wing and Gong, with what it has seen remembered.)

/** The file's SHA-256, or null for no file. */
export type Value = string | null;

export interface Step {
  /** Milliseconds on one clock. If the answer was lost, it ends when it cannot happen any more. */
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

/** What the key may hold after the step; nothing if the step cannot be the next one. */
function follow(state: Value, step: Step): Value[] {
  if (step.kind === 'read') return step.value === state ? [state] : [];
  const allowed = step.if === undefined || (step.if === 'any' ? state !== null : step.if === state);
  if (step.done === false) return allowed ? [] : [state];
  const written = allowed ? [step.value] : [];
  return step.done ? written : [...written, state];
}

/** True if the history can be explained, from a key that holds nothing. */
export function isLinearizable(history: readonly Step[]): boolean {
  const steps = history.toSorted((a, b) => a.begin - b.begin);
  const done = new Array<boolean>(steps.length).fill(false);
  const seen = new Set<string>();

  /** @param last the highest step that is done */
  const search = (first: number, last: number, state: Value): boolean => {
    let from = first;
    while (done[from]) from++;
    if (from === steps.length) return true;
    const mark = `${from}|${state}|${done
      .slice(from, last + 1)
      .map(Number)
      .join('')}`;
    if (seen.has(mark)) return false;
    seen.add(mark);
    // What begins after another has ended comes after it.
    let horizon = Number.POSITIVE_INFINITY;
    for (let i = from; i < steps.length && (steps[i] as Step).begin <= horizon; i++) {
      if (!done[i]) horizon = Math.min(horizon, (steps[i] as Step).end);
    }
    for (let i = from; i < steps.length && (steps[i] as Step).begin <= horizon; i++) {
      if (done[i]) continue;
      done[i] = true;
      for (const next of follow(state, steps[i] as Step)) {
        if (search(from, Math.max(last, i), next)) return true;
      }
      done[i] = false;
    }
    return false;
  };
  return search(0, -1, null);
}
