// Marks a directory that an export began in when it was empty: all in it is the export's, and so may be deleted by it.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { usage } from '../lib/failure.ts';

export const MARKER = '.cistern-export';

/**
 * Makes the directory if it is missing, and marks it if it is empty.
 * @throws Failure (exit 2) if it mirrors something else, or if `mayDelete` and it is not an export's
 */
export function claim(target: string, what: { domain: string; prefix: string }, mayDelete: boolean): void {
  const path = join(target, MARKER);
  mkdirSync(target, { recursive: true });
  if (existsSync(path)) {
    if (readFileSync(path, 'utf8') === text(what)) return;
    throw usage(`'${target}' is an export of something else (see '${path}')`, 'name another directory');
  }
  if (readdirSync(target).length === 0) writeFileSync(path, text(what), { mode: 0o644 });
  else if (mayDelete) {
    throw usage(
      `'${target}' was not empty when it was first exported to, so --delete could remove what is not the store's`,
      `export to an empty directory, or leave --delete out`,
    );
  }
}

function text({ domain, prefix }: { domain: string; prefix: string }): string {
  return `${JSON.stringify({ domain, prefix })}\n`;
}
