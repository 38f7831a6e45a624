// What a machine lacks is reported as a skipped test with the reason. In CI nothing may be lacking.
import { execFileSync } from 'node:child_process';
import type { TestContext } from 'vitest';

declare module 'vitest' {
  interface TaskMeta {
    /** Why the test was skipped, for the report of CI (.ci/summary.mjs). */
    skipped?: string;
  }
}

/** Skips the test that is running, also in CI, and says why. */
export function skip(context: TestContext, why: string): never {
  context.task.meta.skipped = why;
  return context.skip(why);
}

/**
 * Skips the test that is running if this machine lacks something it needs; with CI=true the test fails instead.
 * @param lack what is lacking, in words; undefined: nothing
 */
export function needs(context: TestContext, lack: string | undefined): void {
  if (lack === undefined) return;
  if (process.env.CI === 'true') throw new Error(`this test cannot be skipped in CI: ${lack}`);
  skip(context, lack);
}

/** For `needs`: a program that must be on the PATH. */
export function lacksProgram(name: string): string | undefined {
  try {
    execFileSync('/bin/sh', ['-c', `command -v ${name}`], { stdio: 'ignore' });
    return undefined;
  } catch {
    return `the program '${name}' is not installed`;
  }
}

/** For `needs`: rights that only root has. */
export function lacksRoot(): string | undefined {
  return process.getuid?.() === 0 ? undefined : 'only root may do this';
}
