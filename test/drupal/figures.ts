// Figures that a test measured, for the report that the run writes.
import type { TestContext } from 'vitest';

declare module 'vitest' {
  interface TaskMeta {
    /** What was measured, with its unit: `{ 'upload of 600 MiB': '21 s' }`. */
    figures?: Record<string, string>;
  }
}

export function figure({ task }: TestContext, what: string, value: string): void {
  task.meta.figures = { ...task.meta.figures, [what]: value };
}

export async function seconds(work: () => Promise<unknown>): Promise<string> {
  const begun = performance.now();
  await work();
  return `${((performance.now() - begun) / 1000).toFixed(1)} s`;
}
