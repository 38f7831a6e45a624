// Drush, where the code base has it: what operators type.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'vitest';
import { skip } from '../support/needs.ts';
import type { Head } from './head.ts';

/** Also in CI: what is lacking here is nothing that the project needs. */
export function skipIf(context: TestContext, lack: string | undefined): void {
  if (lack !== undefined) skip(context, lack);
}

export function lacksDrush(head: Head): string | undefined {
  return existsSync(join(head.documentRoot, '../vendor/bin/drush.php'))
    ? undefined
    : 'the code base has no Drush';
}

/** Runs a command on a head. Returns its exit code and what it printed; of one that failed, its errors as well. */
export async function drush(head: Head, ...args: string[]): Promise<{ code: number; printed: string }> {
  const command = ['../vendor/bin/drush.php', '--no-interaction', ...args];
  try {
    return { code: 0, printed: await head.php(command) };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, printed: stdout + stderr };
  }
}
