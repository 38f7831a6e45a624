// The `cistern` command on a test's cluster, as the demo domain's user or as the operator.
import { expect } from 'vitest';
import type { Cluster } from './cluster.ts';
import { type RunOptions, runCistern } from './command.ts';

export function useCistern(cluster: () => Cluster) {
  const as =
    (token: () => string) =>
    (args: string[], options: RunOptions = {}) => {
      const { trackers, domain } = cluster();
      const env = {
        CISTERN_URL: trackers.map(({ url }) => url).join(','),
        CISTERN_DOMAIN: domain,
        CISTERN_TOKEN: token(),
        ...options.env,
      };
      return runCistern(args, { ...options, env });
    };
  return { user: as(() => cluster().token), admin: as(() => cluster().adminToken) };
}

/** The JSON lines that a command printed; it must have ended with `code` and have said nothing on stderr. */
export async function jsonLines<T = Record<string, unknown>>(
  run: ReturnType<typeof runCistern>,
  code = 0,
): Promise<T[]> {
  const ran = await run;
  expect(ran.stderr).toBe('');
  expect(ran.code, ran.stdout).toBe(code);
  return ran.stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T);
}
